"""A server of the official Python SDK at PORT, with sessions."""

import os

from mcp.server.mcpserver import MCPServer

server = MCPServer("python-sdk", log_level="ERROR")


@server.tool()
def greet(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}!"


server.run("streamable-http", host="127.0.0.1", port=int(os.environ["PORT"]))
