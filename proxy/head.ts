/** The head of an answer of ours: byte for byte, and past whatever middleware stands before us. */
import type { ServerResponse } from 'node:http';
import type { RawHeaders } from './contract.ts';

/** Throws when Node will not send it. `reason` is Node's own by default. */
export function writeHead(response: ServerResponse, status: number, headers: RawHeaders, reason?: string): void {
  if (!Object.hasOwn(response, 'writeHead')) {
    if (reason === undefined) response.writeHead(status, [...headers]);
    else response.writeHead(status, reason, [...headers]);
    return;
  }
  // on-headers before 1.1, which compression, morgan and express-session bring, would take a flat list for pairs.
  for (let at = 0; at + 1 < headers.length; at += 2) response.removeHeader(headers[at] ?? '');
  for (let at = 0; at + 1 < headers.length; at += 2) response.appendHeader(headers[at] ?? '', headers[at + 1] ?? '');
  if (reason !== undefined) response.statusMessage = reason;
  response.writeHead(status);
}

const NOTHING = Buffer.alloc(0);

/** Sends the head now. Node's `flushHeaders` writes it as UTF-8, though fields are read as Latin-1. */
export function flushHead(response: ServerResponse): void {
  if (Object.hasOwn(response, 'write')) response.flushHeaders();
  else response.write(NOTHING);
}
