/** Which paths a backend might read as an endpoint's: what routers decode, fold, cut and merge. */

import { describe, expect, test } from 'vitest';
import { isFolded } from '../../proxy/folding.ts';

const ENDPOINTS = ['/mcp', '/a/B.c'];

test.each([
  // Below: Express' app.use, Starlette's Mount, Go's ServeMux.
  ['/mcp/x', '/mcp//', '/mcp/.well-known/x', '/MCP/x', '/mcp/x/y?z', '/a/b.c/d'],
  // Decoded, once and again.
  ['/%6dcp', '/%6Dcp', '/%256dcp', '/%25256dcp', '/%u006dcp', '/%2525252525256dcp', '/mcp%2fx', '/mcp%252f'],
  // Overlong, and otherwise the same.
  ['/mcp%c0%af', '/mcp%e0%80%af', '/mcp%f0%80%80%af', '/%c1%ad%63p', '/%ef%bd%8dcp', '/m%e2%80%8bcp', '/m%c2%adcp'],
  // Cut: C's strings, Python's `$`, trimmed names.
  [
    '/mcp%00',
    '/mcp%00.png',
    '/mcp%20',
    '/mcp%0a',
    '/mcp%0d%0a',
    '/mcp%09',
    '/mcp%a0',
    '/mcp.',
    '/mcp..',
    '/mcp./',
    '/mcp%20/x',
  ],
  // Spring, Rails and ASP.NET: extensions and parameters.
  [
    '/mcp.json',
    '/mcp.do',
    '/mcp;x',
    '/mcp;jsessionid=1/x',
    '/;/mcp',
    '/;a=b/mcp',
    '/mcp%3bx',
    '/mcp,x',
    '/mcp:x',
    '/mcp~1',
  ],
  // Merged, turned, resolved.
  [
    '//mcp',
    '/%2fmcp',
    '/\\mcp',
    '/%5cmcp',
    '/./mcp',
    '/x/../mcp',
    '/x/%2e%2e/mcp',
    '/..;/mcp',
    '/%252e%252e/mcp',
    '/%2e/x',
  ],
  [
    '/mcp%3fx',
    '/mcp%23x',
    '/mcp#x',
    '/mcp%253Fx',
    '/mcp!',
    '/mcp*',
    "/mcp'",
    '/mcp|x',
    '/mcp%7c',
    '/a.//b.c',
    '/a%20/b.c',
  ],
])('%s and the like are nobody’s', (...paths) => {
  expect(paths.filter((path) => !isFolded(path, ENDPOINTS))).toEqual([]);
});

test('others are', () => {
  const paths = [
    '/',
    '/mcp2',
    '/mcp-admin/x',
    '/mcp_x',
    '/mcpx/mcp',
    '/mc',
    '/mc/p',
    '/x/mcp',
    '/a',
    '/a/B',
    '/a/b.cd',
    '/a/bxc',
    '/.well-known/oauth-protected-resource/mcp',
    '/a%2fb',
    '/caf%C3%A9',
    '/%zz',
    '/%',
    '/100%25',
    '/a.b/c',
    '/x;y=mcp',
    '/files/100%2525',
    '/mcp%C3%A9',
    '/%E4%B8%AD/mcp',
  ];
  expect(paths.filter((path) => isFolded(path, ENDPOINTS))).toEqual([]);
});

describe('an endpoint at the root', () => {
  test.each([
    ['/%2f', true],
    ['/%20', true],
    ['/;x', true],
    ['/.', true],
    ['/x', false],
    ['/.well-known/oauth-protected-resource', false],
  ])('%s: %s', (path, folded) => {
    expect(isFolded(path, ['/'])).toBe(folded);
  });
});

test('a long path takes no long time', () => {
  const paths = [
    '%25'.repeat(20_000),
    ';'.repeat(60_000),
    '/.'.repeat(30_000),
    '\u00c3\u00a9'.repeat(30_000),
    ' .'.repeat(30_000),
  ];
  const begun = performance.now();
  for (const path of paths) isFolded(`/mcp2${path}`, ENDPOINTS);
  expect(performance.now() - begun).toBeLessThan(1000);
});
