/** What passes between client and backend byte for byte, and what each connection keeps to itself, both ways. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Backend, Exchange, RawHeaders, Session } from '../../proxy/contract.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { type Field, type Nasty, type NastyRequest, startNasty } from '../house/nasty.ts';
import { RecordingSink, call, listening, note, posting, result } from '../house/recording.ts';
import { newSession } from '../house/sessions.ts';
import { soon } from '../house/until.ts';

const upstream = createUpstream({ answerSeconds: undefined, backendHost: 'keep' });
let a: Nasty;
beforeAll(async () => {
  a = await startNasty();
});
afterAll(async () => {
  await upstream.close();
  await a.close();
});

const session = newSession({ id: 'client-id', backendSessionId: 'backend-id', epoch: 1 });

/** Sends, lets the backend answer, and gives both sides. */
async function through(
  exchange: Exchange,
  of: Session | undefined,
  act: (it: NastyRequest) => void,
): Promise<{ readonly it: NastyRequest; readonly sink: RecordingSink }> {
  const sink = new RecordingSink();
  const home: Backend = { id: 'a', origin: a.origin, draining: false, suspect: false };
  const attempt = upstream.send(exchange, of, home, sink);
  const it = await a.next();
  act(it);
  expect(await soon('the answer', attempt)).toMatchObject({ kind: 'answered' });
  return { it, sink };
}
const answers = (it: NastyRequest): void => it.answer(200, result(1));
const streams = (it: NastyRequest): void => it.stream().event(note(1)).end();

function values(headers: RawHeaders, name: string): readonly string[] {
  return headers.filter((_value, at) => at % 2 === 1 && headers[at - 1]?.toLowerCase() === name);
}

describe('to the backend', () => {
  test('every end-to-end field passes untouched, in its order, repeated ones too', async () => {
    const fields: readonly Field[] = [
      ['Authorization', 'Bearer  two  blanks'],
      ['MCP-Protocol-Version', '2025-11-25'],
      ['Mcp-Method', 'tools/call'],
      ['Mcp-Name', '=?base64?w6k=?='],
      ['X-Twice', 'one'],
      ['X-Twice', 'two, three'],
      ['Cookie', 'a=1; b=2'],
      ['X-Forwarded-For', '192.0.2.1'],
      ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
      ['x-latin', 'caf\u00E9'],
    ];
    const { it } = await through(posting(call(1), { session, headers: fields.flat() }), session, answers);
    const names = new Set(fields.map(([name]) => name));
    expect(it.fields.filter(([name]) => names.has(name))).toEqual(fields);
    expect(it.line).toBe('POST /mcp HTTP/1.1');
    expect(it.body).toBe(JSON.stringify(call(1)));
  });

  test('Host is the client’s, the length ours, and no encoding is asked for', async () => {
    const { it } = await through(
      posting(call(1), { headers: ['Accept-Encoding', 'gzip, br', 'Expect', '100-continue', 'Content-Length', '7'] }),
      undefined,
      answers,
    );
    expect(it.all('host')).toEqual(['mcp.test']);
    expect(it.all('accept-encoding')).toEqual(['identity']);
    expect(it.all('content-length')).toEqual([String(it.body.length)]);
    expect(it.all('expect')).toEqual([]);
  });

  test.each([
    [2048, true],
    [2049, false],
  ])('the client’s id is told up to 2,048 characters: %i', async (length, told) => {
    const long = newSession({ id: 'x'.repeat(length), backendSessionId: 'y'.repeat(length) });
    const { it } = await through(posting(call(1), { session: long }), long, answers);
    expect(it.all('mcp-session-id')).toEqual([long.backendSessionId]);
    expect(it.all('mcp-affinity-session')).toEqual(told ? [long.id] : []);
  });

  test('fields of the connection stay here, and those that Connection names', async () => {
    const headers = [
      ['Connection', 'close, X-Hop'],
      ['connection', 'x-skip'],
      ['X-Hop', '1'],
      ['X-Skip', '2'],
      ['Keep-Alive', 'timeout=5'],
      ['Proxy-Connection', 'keep-alive'],
      ['Proxy-Authorization', 'Basic x'],
      ['TE', 'trailers'],
      ['Trailer', 'X-T'],
      ['Transfer-Encoding', 'chunked'],
      ['Upgrade', 'h2c'],
      ['X-Stays', '3'],
    ].flat();
    const { it } = await through(posting(call(1), { headers }), undefined, answers);
    const known = [
      'mcp-affinity-backend',
      'host',
      'content-type',
      'accept',
      'x-stays',
      'accept-encoding',
      'connection',
      'content-length',
    ];
    expect(it.fields.map(([name]) => name.toLowerCase()).toSorted()).toEqual(known.toSorted());
    expect(it.all('connection')).toEqual(['keep-alive']);
  });

  test('a session goes by the id of its home, and by the client’s in Mcp-Affinity-Session', async () => {
    const headers = ['Mcp-Session-Id', 'client-id', 'Last-Event-ID', 'e1|9'];
    const posted = await through(posting(call(1), { session, headers }), session, answers);
    const listened = await through(listening(session, { headers }), session, streams);
    for (const { it } of [posted, listened]) {
      expect(it.all('mcp-session-id')).toEqual(['backend-id']);
      expect(it.all('mcp-affinity-session')).toEqual(['client-id']);
      expect(it.all('mcp-affinity-backend')).toEqual(['a']);
      expect(it.all('last-event-id')).toEqual(['e1|9']);
    }
    expect(listened.it.line).toBe('GET /mcp HTTP/1.1');
    expect(listened.it.all('content-length')).toEqual([]);
  });

  test('where there is no session there is no such field', async () => {
    const { it } = await through(posting(call(1)), undefined, answers);
    expect(it.fields.filter(([name]) => /^mcp-/i.test(name))).toEqual([['mcp-affinity-backend', 'a']]);
  });
});

describe('to the client', () => {
  test('every end-to-end field passes untouched, but those of the connection and ours', async () => {
    const passing: readonly Field[] = [
      ['Content-Type', 'application/json; charset=utf-8'],
      ['Set-Cookie', 'a=1'],
      ['Set-Cookie', 'b=2'],
      ['WWW-Authenticate', 'Bearer resource_metadata="https://mcp.test/x"'],
      ['MCP-Protocol-Version', '2025-11-25'],
      ['X-Latin', 'caf\u00E9'],
    ];
    const staying: readonly Field[] = [
      ['Connection', 'keep-alive, X-Hop'],
      ['X-Hop', '1'],
      ['Keep-Alive', 'timeout=5'],
      ['Proxy-Authenticate', 'Basic'],
      ['Upgrade', 'h2c'],
      ['Mcp-Affinity-Secret', 'inside'],
    ];
    const { sink } = await through(posting(call(1)), undefined, (it) =>
      it.head(401, [...staying, ...passing, ['Content-Length', '2']]).write(Buffer.from('{}')),
    );
    expect(sink.status).toBe(401);
    expect(sink.headers).toEqual([...passing.flat(), 'Content-Length', '2']);
  });

  test('the session id is the one that the client holds; a new one passes', async () => {
    const named = (it: NastyRequest): void => it.answer(200, result(1), [['mcp-session-id', 'backend-id']]);
    const { sink: known } = await through(posting(call(1), { session }), session, named);
    const { sink: free } = await through(posting(call(1)), undefined, named);
    expect(values(known.headers, 'mcp-session-id')).toEqual(['client-id']);
    expect(values(free.headers, 'mcp-session-id')).toEqual(['backend-id']);
  });

  test('a stream has no length: it may go on', async () => {
    const body = `data: ${JSON.stringify(result(1))}\n\n`;
    const { sink } = await through(posting(call(1)), undefined, (it) =>
      it.answer(200, body, [['content-type', 'text/event-stream']]),
    );
    expect(values(sink.headers, 'content-length')).toEqual([]);
    expect(sink.texts).toEqual([body]);
  });

  test('what comes encoded all the same passes unread', async () => {
    const fields: readonly Field[] = [
      ['content-type', 'text/event-stream'],
      ['content-encoding', 'gzip'],
    ];
    const { sink } = await through(posting(call(1)), undefined, (it) => it.answer(200, 'zipped', fields));
    expect([sink.body, sink.ending, sink.texts]).toEqual(['zipped', 'end', []]);
  });

  test('an interim answer is not the answer', async () => {
    const { sink } = await through(posting(call(1)), undefined, (it) => {
      it.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n').answer(200, result(1));
    });
    expect([sink.status, sink.body]).toEqual([200, JSON.stringify(result(1))]);
  });
});
