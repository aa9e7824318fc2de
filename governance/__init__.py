"""The reference application: who may see which data, and who may work in which project.

It shows how an application uses Headrace, and it is what the demo and the benchmarks run. Tables, rules, seed
data and the independent check stand here; `api/` and `handlers/` bind them to openapi.yaml.
"""
