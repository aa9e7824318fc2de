"""The benchmark: each module measures one part; `python -m bench` prints every row with its bar."""
