/** Which places a Location may name to a client, at the MCP endpoint and elsewhere. */

import { expect, test } from 'vitest';
import { withoutInside } from '../../proxy/redirect.ts';

const ORIGINS = ['http://10.0.0.7:3000', 'http://10.0.0.8:3000', 'https://[fd00::9]:3000'];
const headers = ['Host', 'mcp.example.com', 'X-Forwarded-Host', 'mcp.example.com', 'X-Forwarded-Proto', 'https'];
const sent = { origin: 'http://10.0.0.7:3000', target: '/mcp', headers };
const shown = (location: string, strict: boolean): string | undefined =>
  withoutInside(['Location', location], sent, () => ({ origins: ORIGINS, strict }))[1];

test.each([
  ['http://10.0.0.7:3000/x', '/x', '/x'],
  ['HTTPS://10.0.0.8:3000/x?y', '/x?y', '/x?y'],
  ['//10.0.0.8:3000/x', '/x', '/x'],
  ['http://[FD00::9]:3000/', '/', '/'],
  ['http://0.0.0.0:3000/x', '/x', '/x'],
  ['http://[::]:3000/x', '/x', '/x'],
  ['h\tttp://10.0.0.8:3000/x', '/x', '/x'],
  ['http:\\\\10.0.0.8:3000\\x', '/x', '/x'],
  ['http://mcp.example.com/x', '/x', '/x'],
  ['https://mcp.example.com:443/x', '/x', '/x'],
  ['https://mcp.example.com:8443/x', 'https://mcp.example.com:8443/x', 'https://mcp.example.com:8443/x'],
  ['http://10.0.0.8:9000/x', undefined, undefined],
  ['http://10.9.9.9/x', undefined, 'http://10.9.9.9/x'],
  ['http://172.31.0.1/x', undefined, 'http://172.31.0.1/x'],
  ['http://172.32.0.1/x', 'http://172.32.0.1/x', 'http://172.32.0.1/x'],
  ['http://169.254.169.254/', undefined, 'http://169.254.169.254/'],
  ['http://[fe80::1]/', undefined, 'http://[fe80::1]/'],
  ['http://0x7f.1/x', undefined, 'http://0x7f.1/x'],
  ['http://localhost:33418/callback?code=1', undefined, 'http://localhost:33418/callback?code=1'],
  ['http://127.0.0.1:6274/#x', undefined, 'http://127.0.0.1:6274/#x'],
  ['https://login.example.com/a', 'https://login.example.com/a', 'https://login.example.com/a'],
  ['vscode://mcp/callback', 'vscode://mcp/callback', 'vscode://mcp/callback'],
  ['../x', '../x', '../x'],
  ['', '', ''],
  ['http://', undefined, undefined],
])('%s: at the endpoint %s, elsewhere %s', (location, endpoint, elsewhere) => {
  expect([shown(location, true), shown(location, false)]).toEqual([endpoint, elsewhere]);
});
