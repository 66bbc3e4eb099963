/** The kinds of servers that are not ours: how each is started, what it is asked, and what it answers. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { type Python, pythonFile } from './python.ts';
import type { Start } from './servers.ts';

export type Kind = {
  readonly name: string;
  readonly version: string;
  start(port: number): Start;
  /** Rejects unless the server answers as it should. */
  ask(client: Client): Promise<void>;
  /** The same by hand. */
  readonly request: { readonly method: string; readonly params: object };
};

const MANIFEST = z.object({ version: z.string() });
const EVERYTHING = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-everything/dist/index.js'));
const LISTEN_PORT = fileURLToPath(new URL('listen-port.ts', import.meta.url));

/** The installed version of an npm package. */
export function versionOf(name: string): string {
  const file = new URL(`../../../node_modules/${name}/package.json`, import.meta.url);
  return MANIFEST.parse(JSON.parse(readFileSync(file, 'utf8'))).version;
}

export function nodeKinds(): readonly Kind[] {
  const sdk = versionOf('@modelcontextprotocol/sdk');
  return [
    { ...GREET, name: 'SDK v1, simpleStreamableHttp', version: sdk, start: example('simpleStreamableHttp') },
    {
      ...GREET,
      name: 'SDK v1, jsonResponseStreamableHttp',
      version: sdk,
      start: example('jsonResponseStreamableHttp'),
    },
    {
      ...READ,
      name: 'SDK v1, standaloneSseWithGetStreamableHttp',
      version: sdk,
      start: example('standaloneSseWithGetStreamableHttp'),
    },
    {
      ...tool('echo', { message: 'hello' }, 'Echo: hello'),
      name: 'server-everything',
      version: versionOf('@modelcontextprotocol/server-everything'),
      start: (port) => ({
        command: process.execPath,
        args: [EVERYTHING, 'streamableHttp'],
        env: { PORT: String(port) },
      }),
    },
    { ...GREET, name: 'SDK v2', version: versionOf('@modelcontextprotocol/server'), start: v2Server },
  ];
}

export function v2Server(port: number): Start {
  const program = fileURLToPath(new URL('v2-server.ts', import.meta.url));
  return { command: process.execPath, args: [program], env: { PORT: String(port) } };
}

/** Their names, where there is no Python to run them. */
export const PYTHON_KINDS = ['Python SDK', 'FastMCP', 'FastMCP mounted in Starlette'] as const;

export function pythonKinds({ path, mcp, fastmcp }: Extract<Python, { kind: 'python' }>): readonly Kind[] {
  const start = (program: string) => (port: number) => ({
    command: path,
    args: [pythonFile(program)],
    env: { PORT: String(port), PYTHONDONTWRITEBYTECODE: '1' },
  });
  return [
    { ...GREET, name: PYTHON_KINDS[0], version: `${mcp}.x`, start: start('server_sdk.py') },
    { ...GREET, name: PYTHON_KINDS[1], version: `${fastmcp}.x`, start: start('server_fastmcp.py') },
    { ...GREET, name: PYTHON_KINDS[2], version: `${fastmcp}.x`, start: start('server_mounted.py') },
  ];
}

/** An example of the SDK; those that have their port written into them are made to listen on another. */
function example(name: string): Kind['start'] {
  const program = fileURLToPath(import.meta.resolve(`@modelcontextprotocol/sdk/examples/server/${name}.js`));
  return (port) => ({
    command: process.execPath,
    args: ['--import', LISTEN_PORT, program],
    env: { LISTEN_PORT: String(port), MCP_PORT: String(port) },
  });
}

function tool(name: string, args: Record<string, unknown>, text: string): Pick<Kind, 'ask' | 'request'> {
  const params = { name, arguments: args };
  return {
    request: { method: 'tools/call', params },
    async ask(client) {
      const [part] = CallToolResultSchema.parse(await client.callTool(params)).content;
      if (part?.type !== 'text' || part.text !== text) throw new Error(`Expected ${text}, got ${JSON.stringify(part)}`);
    },
  };
}

const GREET = tool('greet', { name: 'Ada' }, 'Hello, Ada!');
const RESOURCE = { uri: 'https://mcp-example.com/dynamic/example-resource' };
const READ: Pick<Kind, 'ask' | 'request'> = {
  request: { method: 'resources/read', params: RESOURCE },
  async ask(client) {
    const { contents } = await client.readResource(RESOURCE);
    if (contents[0]?.uri !== RESOURCE.uri) throw new Error(`Expected the resource, got ${JSON.stringify(contents)}`);
  },
};
