/** Clients that are not ours, each behind the same two verbs. */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { pythonFile } from './python.ts';

export type ForeignClient = {
  /** Calls the tool; the text of its answer. Rejects with what the client makes of a failure. */
  call(tool: string, args?: Record<string, unknown>): Promise<string>;
  /** As the client holds it now, where it can be seen. */
  sessionId?(): string | undefined;
  close(): Promise<void>;
};

const ME = { name: 'foreign', version: '1' };
const MCP_REMOTE = fileURLToPath(import.meta.resolve('mcp-remote/dist/proxy.js'));

/** All of them connect, and ask for the tools, as clients do. */
export async function sdkV1(url: string): Promise<ForeignClient> {
  const transport = new StreamableHTTPClientTransport(new URL(url));
  return { ...(await speakV1(transport)), sessionId: () => transport.sessionId };
}

export async function sdkV2(url: string, mode: 'legacy' | 'auto'): Promise<ForeignClient & { readonly era: string }> {
  const client = new ClientV2(ME, { versionNegotiation: { mode } });
  const transport = new HttpV2(new URL(url));
  await client.connect(transport);
  await client.listTools();
  return {
    call: async (name, args = {}) => textOf(await client.callTool({ name, arguments: args })),
    sessionId: () => transport.sessionId,
    close: () => client.close(),
    era: client.getProtocolEra() ?? '',
  };
}

/** The bridge from stdio, and at its other end the SDK's client. */
export async function mcpRemote(url: string): Promise<ForeignClient> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-remote-'));
  const { PATH = '' } = process.env;
  const args = [MCP_REMOTE, url, '--transport', 'http-only', '--silent'];
  const env = { PATH, HOME: folder, MCP_REMOTE_CONFIG_DIR: folder };
  const transport = new StdioClientTransport({ command: process.execPath, args, env, stderr: 'ignore' });
  const client = await speakV1(transport);
  return {
    ...client,
    async close() {
      await client.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const SAID = z.object({ text: z.string().optional(), error: z.string().optional() });

/** `program` is a client in test/house/foreign/python. */
export async function pythonClient(
  python: string,
  program: string,
  url: string,
  mode: 'legacy' | 'auto',
): Promise<ForeignClient> {
  const { PATH = '' } = process.env;
  const child = spawn(python, [pythonFile(program), url, mode], {
    env: { PATH, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const waiting: { resolve: (text: string) => void; reject: (error: Error) => void }[] = [];
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-2000);
  });
  createInterface(child.stdout).on('line', (line) => {
    const { text, error } = SAID.parse(JSON.parse(line));
    const first = waiting.shift();
    if (error === undefined) first?.resolve(text ?? '');
    else first?.reject(new Error(error));
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      for (const { reject } of waiting.splice(0)) reject(new Error(`${program} ended: ${stderr}`));
      resolve();
    });
  });
  const next = () => new Promise<string>((resolve, reject) => waiting.push({ resolve, reject }));
  const ready = next();
  await ready;
  return {
    call(tool, args = {}) {
      child.stdin.write(`${JSON.stringify({ tool, args })}\n`);
      return next();
    },
    async close() {
      child.stdin.end();
      const late = setTimeout(() => child.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(late);
    },
  };
}

async function speakV1(transport: StreamableHTTPClientTransport | StdioClientTransport): Promise<ForeignClient> {
  const client = new Client(ME);
  await client.connect(transport);
  await client.listTools();
  return {
    call: async (name, args = {}) => textOf(await client.callTool({ name, arguments: args })),
    close: () => client.close(),
  };
}

function textOf(result: unknown): string {
  const { content, isError } = CallToolResultSchema.parse(result);
  const text = content.map((part) => (part.type === 'text' ? part.text : part.type)).join(' ');
  if (isError) throw new Error(text);
  return text;
}
