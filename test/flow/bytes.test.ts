/** What others wrote passes in their bytes, in a session that has migrated too: numbers, repeated keys, escapes, no UTF-8. */

import { expect, onTestFinished, test } from 'vitest';
import { type Edge, INITIALIZE, greet, startEdge } from '../house/edge.ts';
import { type Nasty, type NastyRequest, startNasty } from '../house/nasty.ts';
import { type RawClient, post, request } from '../house/raw.ts';
import { until } from '../house/until.ts';

/** What JSON.parse and JSON.stringify would change, one character per byte. */
const ODD_TEXT = String.raw`"big":9007199254740993, "huge": 1e400,"price":1.0,"minus":-0,"a":1,"a":2,"2":0,"1":0,"t":"\u0041\/"`;
const ODD = `${ODD_TEXT},"bytes":"\xff"`;
const SESSION = 'mcp-session-id: s1';

type Scene = { readonly edge: Edge; readonly home: Nasty; readonly client: RawClient };

/** A session at one of two backends, and a client. */
async function begin(initialize = JSON.stringify(INITIALIZE)): Promise<Scene & { readonly other: Nasty }> {
  const b = await startNasty();
  onTestFinished(() => b.close());
  const edge = await startEdge({ others: [b.origin], flags: ['--hold-seconds', '5'] });
  onTestFinished(() => edge.close());
  const client = await edge.dial();
  client.send(posted(initialize));
  const home = await until('one has it', () => [edge.a, b].find(({ requests }) => requests.length > 0));
  greet(await home.next(), 's1');
  await client.answer();
  client.text = '';
  return { edge, client, home, other: home === b ? edge.a : b };
}

/** The same at the other backend: its home was lost before a call, which the new home has. */
async function migrated(): Promise<Scene & { readonly call: NastyRequest }> {
  const { edge, home, other, client } = await begin();
  await home.close();
  client.send(posted(call('1')));
  greet(await other.next(), 's2');
  return { edge, client, home: other, call: await other.next() };
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const posted = (body: string): Buffer => bytes(post(body, SESSION, `content-length: ${body.length}`));
const opening = (id: string, version: string): string =>
  ` {"jsonrpc":"2.0", "method":"initialize", "id" : ${id},"params":{"experimental":{${ODD_TEXT}}, "protocolVersion": ${version},"protocolVersion":${version}}} `;
const call = (id: string): string =>
  `{ "id" : ${id},"jsonrpc":"2.0","method":"resources/read","params":{${ODD},"uri":"x"}}`;
const result = (id: string): string => `{"result":{ ${ODD} },\t"jsonrpc":"2.0","id":${id}}`;
const question = (id: string, token: string): string =>
  `{"jsonrpc":"2.0",\n "id":${id} ,"method":"x/y",\n"params":{${ODD},"_meta":{ "progressToken":${token}},"id":5},"id":${id}}`;
const inLines = (text: string, name = ''): string => `${name}data: ${text.replaceAll('\n', '\ndata:')}\n\n`;
const bodyOf = ({ raw }: NastyRequest): string => raw.subarray(raw.indexOf('\r\n\r\n') + 4).toString('latin1');
function streamed(to: NastyRequest, text: string): void {
  const chunk = bytes(text);
  to.write(`${chunk.length.toString(16)}\r\n`)
    .write(chunk)
    .write('\r\n');
}

test('a call, its questions and its answer, after a migration', async () => {
  const { edge, client, home, call: atHome } = await migrated();
  expect(bodyOf(atHome)).toBe(call('1'));
  atHome.stream();
  streamed(atHome, inLines(question('9007199254740993', '"\\u0074"'), 'id: 7\n'));
  const shown = inLines(question('"e1|n|9007199254740993"', '"e1|s|\\u0074"'), 'id: e1|7\n');
  await client.saw(shown);

  const answerer = await edge.dial();
  answerer.send(posted(`[${result('"e1|n|9007199254740993"')} , ${result('"e0|n|3"')}]`));
  const answered = await home.next();
  expect(bodyOf(answered)).toBe(`[${result('9007199254740993')}]`);
  answered.head(202, [['content-length', '0']]);
  expect(await answerer.answer()).toMatchObject({ status: 202 });

  streamed(atHome, inLines(result('1'), 'id:8\n'));
  await client.saw(inLines(result('1'), 'id:e1|8\n'));
  atHome.end();
  await client.saw('0\r\n\r\n');
});

test('what the client said of itself, to its new home: under our id, with the version that was agreed', async () => {
  const { home, other, client } = await begin(opening('"first"', '"2025-\\u0030"'));
  await home.close();
  client.send(posted(call('1')));
  const initialize = await other.next();
  const [, id = ''] = /"id" : ("[^"]+")/.exec(bodyOf(initialize)) ?? [];
  expect(id).toMatch(/^"mcp-affinity-\d+"$/);
  expect(bodyOf(initialize)).toBe(opening(id, '"2025-11-25"').trim());
});

test('an answer in JSON, after a migration', async () => {
  const { client, call: atHome } = await migrated();
  const text = bytes(`[\r\n${result('1')}]`);
  atHome.head(200, [
    ['content-type', 'application/json'],
    ['content-length', String(text.length)],
  ]);
  atHome.write(text);
  expect((await client.answer()).body).toBe(text.toString('latin1'));
});

test('events on a listening stream, and where it goes on from', async () => {
  const { edge, client, home, call: atHome } = await migrated();
  atHome.answer(200, result('1'));
  await client.answer();
  const listener = await edge.dial();
  listener.send(request('GET /mcp', [SESSION, 'accept: text/event-stream', 'last-event-id: e1|5']));
  const listening = await home.next();
  expect(listening.all('last-event-id')).toEqual(['5']);
  listening.stream();
  const cancelled = (id: string): string =>
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${id},${ODD}}}`;
  const said = `[ ${cancelled('1.0')},{"jsonrpc":"2.0","method":"x","params":{"requestId":1,${ODD}}} ]`;
  streamed(listening, `\xef\xbb\xbfretry: 5\r\nid: a\xc3\xa9\r\ndata:${said}\r\n: end\r\n\r\n`);
  const shown = said.replace(cancelled('1.0'), cancelled('"e1|n|1.0"'));
  // Without the mark, which would stand behind our comment.
  await listener.saw(`\nretry: 5\r\nid: e1|a\xc3\xa9\r\ndata:${shown}\r\n: end\r\n\r\n`);
});

test('the part of a batch that was not answered, and an answer in JSON that goes on a stream', async () => {
  const { home, client } = await begin();
  const reads = [call('1'), call('2.0'), call('"\\u0033"')];
  client.send(posted(`[ ${reads.join(' ,\n')}\n]`));
  const first = await home.next();
  expect(bodyOf(first)).toBe(`[ ${reads.join(' ,\n')}\n]`);
  first.stream();
  streamed(first, inLines(result('2')));
  await client.saw(inLines(result('2')));
  first.reset();
  const again = await home.next();
  expect(bodyOf(again)).toBe(`[ ${call('1')} ,\n${call('"\\u0033"')}\n]`);
  const answers = bytes(`[${result('1')},\n{"jsonrpc":"2.0",\r\n"id":"3","result":{${ODD}}}]`);
  again.head(200, [
    ['content-type', 'application/json'],
    ['content-length', String(answers.length)],
  ]);
  again.write(answers);
  await client.saw(`event: message\n${inLines(result('1'))}`);
  await client.saw(`event: message\ndata: {"jsonrpc":"2.0",\ndata: "id":"3","result":{${ODD}}}\n\n`);
});

test.each(['nothing', 'a stream'])('the ids in an error of the proxy’s own, when %s was shown', async (shown) => {
  const { home, client } = await begin();
  const run = (id: string): string => `{"method":"tools/call","params":{"name":"x"},"id":${id},"jsonrpc":"2.0"}`;
  client.send(posted(`[${run('9007199254740993')}, ${run('2.0')},${run('"3"')}]`));
  const called = await home.next();
  if (shown === 'a stream') {
    called.stream();
    await client.saw('text/event-stream');
  }
  called.reset();
  const error = (id: string): string =>
    `{"jsonrpc":"2.0","id":${id},"error":{"code":-32000,"message":"The server was lost while it worked on this request: the outcome is unknown"}}`;
  const errors = [error('9007199254740993'), error('2.0'), error('"3"')];
  const events = errors.map((one) => `event: message\ndata: ${one}\n\n`).join('');
  expect((await client.answer()).body).toBe(shown === 'nothing' ? `[${errors.join(',')}]` : events);
});

test.each([
  ['5', ['5']],
  ['caf\u00E9', ['caf\u00E9']],
  ['\u{1F600}', []],
  ['a\u0001', []],
  ['a\u0000', []],
])('a stream is attached again whatever its event ids are: %j', async (id, cursor) => {
  const { edge, home } = await begin();
  const listener = await edge.dial();
  listener.send(request('GET /mcp', [SESSION, 'accept: text/event-stream']));
  const listening = await home.next();
  listening.stream().chunk(`id: ${id}\ndata: x\n\n`);
  await listener.saw(Buffer.from(`id: ${id}\ndata: x\n\n`).toString('latin1'));
  listening.reset();
  const again = await home.next();
  expect(again.all('last-event-id')).toEqual(cursor);
  again.stream().chunk('data: y\n\n');
  await listener.saw('data: y\n\n');
});
