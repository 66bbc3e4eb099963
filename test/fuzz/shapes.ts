/** What the fuzzer sends and answers: random connections of requests, each with the answer that its backend will give. */

import * as fc from 'fast-check';

export type Field = readonly [name: string, value: string];

export type Framing =
  | { readonly kind: 'length' }
  | {
      readonly kind: 'chunked';
      readonly size: number;
      readonly extension: string;
      readonly trailers: readonly string[];
    };

export type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'text'; readonly text: string }
  /** JSON-RPC that the endpoint takes. */
  | { readonly kind: 'messages'; readonly messages: readonly object[]; readonly batch: boolean };

export type RequestShape =
  | {
      readonly kind: 'sound';
      readonly method: string;
      readonly target: string;
      readonly fields: readonly Field[];
      readonly body: Body;
      readonly framing: Framing;
      readonly session: 'none' | 'own' | 'unknown';
    }
  /** Two servers could read it in two ways; one of them finds a second request in it. */
  | { readonly kind: 'ambiguous'; readonly target: string; readonly fields: string; readonly body: string }
  /** A sound one with bytes that are others, missing, or there twice. */
  | { readonly kind: 'broken'; readonly target: string; readonly edits: readonly Edit[] };

export type Edit = {
  readonly at: number;
  readonly how: 'replace' | 'insert' | 'drop' | 'double';
  readonly bytes: string;
};

export type Fault =
  | { readonly kind: 'none' }
  /** The connection ends, or is reset, in that part of the answer. */
  | { readonly kind: 'cut' | 'reset'; readonly at: number }
  | { readonly kind: 'silent' }
  /** With the end of the answer comes another, for a request that nobody sent. */
  | { readonly kind: 'extra' }
  | { readonly kind: 'raw'; readonly bytes: string };

export type AnswerShape = {
  readonly interim: readonly string[];
  readonly status: number;
  readonly phrase: string;
  readonly fields: readonly Field[];
  readonly body: 'result' | 'error' | 'events' | 'text' | 'none';
  readonly text: string;
  readonly notes: number;
  readonly framing: 'length' | 'chunked' | 'close';
  /** Bytes of each chunk, and of each write. */
  readonly chunk: number;
  readonly write: number;
  readonly trailers: readonly string[];
  readonly fault: Fault;
};

export type Step = { readonly request: RequestShape; readonly answer: AnswerShape };

export type Connection = {
  readonly steps: readonly Step[];
  readonly pipelined: boolean;
  /** Bytes of each write. */
  readonly write: number;
  /** The client leaves when it has sent that part of its bytes, or has seen so many bytes of its answers. */
  readonly leaves: { readonly sent: number } | { readonly seen: number } | undefined;
};

/** A request that must not be one. `poison`: an answer that must not be one. */
const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: localhost\r\nx-fuzz: hidden\r\n\r\n';
export const POISON =
  'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-fuzz-answer: poison\r\ncontent-length: 6\r\n\r\npoison';
export const UNKNOWN_SESSION = 'a-session-that-nobody-knows';
export const MAX_BODY = 100_000;

const one = fc.constantFrom;
const token = fc.stringMatching(/^[a-z][a-z\d-]{0,12}$/);
/** Latin-1, as fields are. */
const value = fc.stringMatching(/^([!-~\u00a1-\u00ff]([\t -~\u00a1-\u00ff]{0,30}[!-~\u00a1-\u00ff])?)?$/);
const bytes = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) });
const size = fc.oneof(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 8, max: 5000 }), one(70_000));

const field: fc.Arbitrary<Field> = fc.oneof(
  fc.tuple(
    token.map((name) => `x-own-${name}`),
    value,
  ),
  one<Field>(
    ['mcp-affinity-session', 'stolen'],
    ['Mcp_Affinity_Backend', 'b'],
    ['X-Forwarded-For', '6.6.6.6, 7.7.7.7'],
    ['Forwarded', 'for=6.6.6.6;host="evil.test"'],
    ['X_Forwarded_Host', 'evil.test'],
    ['__proto__', 'x'],
    ['constructor', 'x'],
    ['cookie', '__proto__=x; a=b'],
    ['te', 'trailers'],
    ['connection', 'x-own-a, keep-alive'],
    ['connection', 'close'],
    ['accept-encoding', 'gzip, br'],
    ['upgrade', 'h2c'],
    ['expect', '100-continue'],
    ['mcp-protocol-version', '2025-11-25'],
    ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    ['last-event-id', '7'],
  ),
);

const id = fc.oneof(fc.nat(), token, one('é', '__proto__', '9007199254740993', ''));
const params = fc.oneof(
  fc.record({ name: token, arguments: fc.jsonValue({ maxDepth: 3 }) }),
  one(JSON.parse('{"name":"x","__proto__":{"a":1},"constructor":{"prototype":{"a":1}}}')),
  fc.record({ name: one('hidden'), text: one(`\r\n\r\n${HIDDEN}`) }),
  fc.record({ name: one('long'), text: fc.integer({ min: 0, max: 60_000 }).map((length) => 'x'.repeat(length)) }),
);
const request = fc.record({
  jsonrpc: one('2.0'),
  id,
  method: one('tools/call', 'tools/call', 'tools/list', 'resources/read', 'ping', 'x/own'),
  params,
});
const note = fc.record({ jsonrpc: one('2.0'), method: one('notifications/progress', 'notifications/x'), params });
const answered = fc.record({ jsonrpc: one('2.0'), id: one(0, 1, 'q'), result: fc.record({ text: token }) });
const initialize = one({
  jsonrpc: '2.0',
  id: 'first',
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'fuzz', version: '1' } },
});

const messages: fc.Arbitrary<Body> = fc.oneof(
  {
    weight: 5,
    arbitrary: request.map((message) => ({ kind: 'messages', messages: [message], batch: false }) as const),
  },
  {
    weight: 1,
    arbitrary: fc
      .oneof(note, answered, initialize)
      .map((message) => ({ kind: 'messages', messages: [message], batch: false }) as const),
  },
  {
    weight: 1,
    arbitrary: fc
      .uniqueArray(fc.oneof(request, note), { minLength: 1, maxLength: 5, selector: keyOf })
      .map((all) => ({ kind: 'messages', messages: all, batch: true }) as const),
  },
);

/** Ids are there once in a batch. */
function keyOf(message: object): unknown {
  return 'id' in message ? JSON.stringify(message.id) : message;
}

const text: fc.Arbitrary<Body> = fc
  .oneof(
    bytes,
    one(
      '',
      HIDDEN,
      `\r\n\r\n${HIDDEN}`,
      `0\r\n\r\n${HIDDEN}`,
      '{',
      '[]',
      'null',
      '{"jsonrpc":"2.0","id":1,"method":"ping"}{}',
      '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
      '{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
      '{"jsonrpc":"2.0","id":[],"method":"ping"}',
      '{"__proto__":{"method":"ping"},"jsonrpc":"2.0","id":1}',
      '\u00ef\u00bb\u00bf{"jsonrpc":"2.0","id":1,"method":"ping"}',
    ),
    fc.integer({ min: 1, max: 4000 }).map((depth) => '['.repeat(depth)),
    fc.integer({ min: MAX_BODY - 10, max: MAX_BODY + 50_000 }).map((length) => 'y'.repeat(length)),
  )
  .map((all) => ({ kind: 'text', text: all }));

const framing: fc.Arbitrary<Framing> = fc.oneof(
  one({ kind: 'length' } as const),
  fc.record({
    kind: one('chunked' as const),
    size,
    extension: one('', '', ';a=b', ';a="b"', ';x'),
    trailers: one<readonly string[]>([], [], ['x-end: 1'], ['mcp-session-id: stolen', 'x-fuzz: hidden']),
  }),
);

const otherTarget = one('/other', '/other?a=%20b&__proto__=x', '/other/%C3%A9', '/a//b', '/.well-known/x', '/_');
const sound: fc.Arbitrary<RequestShape> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: one('sound' as const),
      method: one('POST'),
      target: one('/mcp', '/mcp', '/mcp?x=1', '/mcp/'),
      fields: fc.array(field, { maxLength: 4 }),
      body: fc.oneof({ weight: 6, arbitrary: messages }, { weight: 1, arbitrary: text }),
      framing,
      session: one('none', 'own', 'own', 'own', 'unknown' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: one('sound' as const),
      method: one('GET', 'OPTIONS', 'HEAD', 'PUT'),
      target: one('/mcp'),
      fields: fc.array(field, { maxLength: 4 }),
      body: fc.oneof(one({ kind: 'none' } as const), text),
      framing,
      session: one('none', 'own', 'unknown' as const),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: one('sound' as const),
      method: one('GET', 'GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH'),
      target: otherTarget,
      fields: fc.array(field, { maxLength: 4 }),
      body: fc.oneof(one({ kind: 'none' } as const), text),
      framing,
      session: one('none' as const),
    }),
  },
);

const CHUNKS = `0\r\n\r\n${HIDDEN}`;
const ambiguous: fc.Arbitrary<RequestShape> = fc
  .tuple(
    one('/mcp', '/other'),
    one<readonly [fields: string, body: string]>(
      ['content-length: 5\r\ntransfer-encoding: chunked', CHUNKS],
      ['transfer-encoding: chunked\r\ncontent-length: 5', CHUNKS],
      [`content-length: 5\r\ncontent-length: ${CHUNKS.length}`, CHUNKS],
      [`content-length: 5, ${CHUNKS.length}`, CHUNKS],
      ['content-length: +5', CHUNKS],
      ['content-length: 0x5', CHUNKS],
      ['content-length: 5 5', CHUNKS],
      ['transfer-encoding: xchunked', CHUNKS],
      ['transfer-encoding: chunked, identity', CHUNKS],
      ['transfer-encoding: gzip, chunked', CHUNKS],
      ['transfer-encoding: identity\r\ntransfer-encoding: chunked', CHUNKS],
      ['transfer-encoding : chunked', CHUNKS],
      ['transfer-encoding:\u000bchunked', CHUNKS],
      ['transfer-encoding:\r\n chunked', CHUNKS],
      ['x: y\ntransfer-encoding: chunked', CHUNKS],
      ['x: y\rtransfer-encoding: chunked', CHUNKS],
      ['transfer-encoding: chunked\r\nx: y\n', CHUNKS],
      ['\ttransfer-encoding: chunked', CHUNKS],
      ['transfer-encoding: chunked', `2;\n${HIDDEN}`],
      ['transfer-encoding: chunked', `1 \r\na\r\n0x0\r\n\r\n${HIDDEN}`],
      ['transfer-encoding: chunked', `2\r\nabc\r\n0\r\n\r\n${HIDDEN}`],
      ['transfer-encoding: chunked', `2\nab\n0\n\n${HIDDEN}`],
      ['transfer-encoding: chunked', `-1\r\na\r\n0\r\n\r\n${HIDDEN}`],
      ['transfer-encoding: chunked', `ffffffffffffffff1\r\na\r\n0\r\n\r\n${HIDDEN}`],
      ['transfer-encoding: chunked', `1;a="\r\n0\r\n\r\n${HIDDEN}`],
    ),
  )
  .map(([target, [fields, body]]) => ({ kind: 'ambiguous', target, fields, body }));

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  how: one('replace', 'insert', 'drop', 'double' as const),
  bytes: fc.oneof(bytes, one('\r', '\n', '\r\n', '\0', ' ', '\t', ':', '\r\n\r\n', '\u007f', '\u0080', 'chunked')),
});
const broken: fc.Arbitrary<RequestShape> = fc.record({
  kind: one('broken' as const),
  target: one('/mcp', '/other'),
  edits: fc.array(edit, { minLength: 1, maxLength: 3 }),
});

const RAW = [
  '\0\u0001\u0002',
  'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
  `HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}`,
  'HTTP/1.1 200 OK\r\nx-a: b\r\n folded\r\ncontent-length: 2\r\n\r\n{}',
  'HTTP/1.1 200 OK\ncontent-length: 2\n\n{}',
  'HTTP/1.1 200 O\u0001K\u007f\r\ncontent-length: 2\r\n\r\n{}',
  'HTTP/1.1 200 OK\r\nx-\u0080: \u0001\r\ncontent-length: 2\r\n\r\n{}',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\n{}\r\n0\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nxx',
  'HTTP/1.1 000 No\r\ncontent-length: 2\r\n\r\n{}',
  'HTTP/1.1 999 Yes\r\ncontent-length: 2\r\n\r\n{}',
  'HTTP/2 200 OK\r\n\r\n',
  HIDDEN,
  `HTTP/1.1 204 No Content\r\ncontent-length: ${POISON.length}\r\n\r\n${POISON}`,
  `HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n${POISON}`,
  `HTTP/1.1 100 Continue\r\n\r\n${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(200)}`,
];
const answerBytes: fc.Arbitrary<string> = fc.oneof(
  one(...RAW),
  bytes.map((noise) => `HTTP/1.1 200 OK\r\n${noise}\r\n\r\n{}`),
);

const fault: fc.Arbitrary<Fault> = fc.oneof(
  { weight: 30, arbitrary: one({ kind: 'none' } as const) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: one('cut', 'reset' as const), at: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  { weight: 1, arbitrary: one({ kind: 'silent' } as const) },
  { weight: 5, arbitrary: one({ kind: 'extra' } as const) },
  { weight: 5, arbitrary: fc.record({ kind: one('raw' as const), bytes: answerBytes }) },
);

const answer: fc.Arbitrary<AnswerShape> = fc.record({
  interim: fc.array(one('HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'), {
    maxLength: 2,
  }),
  status: fc.oneof(
    { weight: 8, arbitrary: one(200) },
    { weight: 3, arbitrary: one(201, 202, 204, 304, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503) },
  ),
  phrase: one('OK', '', 'Said so', 'caf\u00e9'),
  fields: fc.array(
    fc.oneof(
      fc.tuple(
        token.map((name) => `x-said-${name}`),
        value,
      ),
      one<Field>(
        ['set-cookie', '__proto__=1; Path=/'],
        ['mcp-affinity-mark', 'odd'],
        ['keep-alive', 'timeout=9999'],
        ['connection', 'close'],
        ['etag', '"1"'],
      ),
    ),
    { maxLength: 3 },
  ),
  body: one('result', 'result', 'result', 'error', 'events', 'events', 'text', 'none' as const),
  text: fc.oneof(
    fc.string(),
    one(POISON, HIDDEN, 'a\u2028b'),
    fc.integer({ min: 0, max: 200_000 }).map((n) => 'z'.repeat(n)),
  ),
  notes: fc.nat({ max: 3 }),
  framing: one('length', 'chunked', 'chunked', 'close' as const),
  chunk: size,
  write: size,
  trailers: one<readonly string[]>([], [], ['x-end: 1'], ['set-cookie: stolen=1', 'mcp-session-id: stolen']),
  fault,
});

const step: fc.Arbitrary<Step> = fc.record({
  request: fc.oneof(
    { weight: 14, arbitrary: sound },
    { weight: 2, arbitrary: ambiguous },
    { weight: 2, arbitrary: broken },
  ),
  answer,
});

export const connection: fc.Arbitrary<Connection> = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 4 }),
  pipelined: fc.boolean(),
  write: size,
  leaves: fc.oneof(
    { weight: 12, arbitrary: one(undefined) },
    {
      weight: 1,
      arbitrary: fc.double({ min: 0, max: 1, noNaN: true }).map((sent) => ({ sent })),
    },
    { weight: 1, arbitrary: fc.nat({ max: 1000 }).map((seen) => ({ seen })) },
  ),
});
