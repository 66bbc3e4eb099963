"""A FastMCP server mounted in a Starlette application at PORT, which redirects /mcp to /mcp/."""

import os

import uvicorn
from fastmcp import FastMCP
from starlette.applications import Starlette
from starlette.routing import Mount

server = FastMCP("fastmcp")


@server.tool
def greet(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}!"


app = server.http_app(path="/")
mounted = Starlette(routes=[Mount("/mcp", app=app)], lifespan=app.lifespan)
uvicorn.run(mounted, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
