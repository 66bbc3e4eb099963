"""A FastMCP server at PORT, with sessions."""

import os

from fastmcp import FastMCP

server = FastMCP("fastmcp")


@server.tool
def greet(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}!"


server.run("http", host="127.0.0.1", port=int(os.environ["PORT"]), show_banner=False, log_level="ERROR")
