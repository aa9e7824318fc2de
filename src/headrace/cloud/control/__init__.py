"""The server's own API, and what it steers."""
