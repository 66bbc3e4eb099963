/** Heads that Node's setters throw at: cleaned, or taken back, so that another one can be sent. */

import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { writeHead } from '../../proxy/head.ts';
import { INTERNAL, refuse } from '../../proxy/refusal.ts';
import { ResponseSink } from '../../proxy/sink.ts';

const FIELDS = [
  'x-good',
  'é\t',
  'x bad',
  'a',
  'x-bad',
  'a\u0001',
  '',
  'a',
  'x-bad',
  'a\r\nb: c',
  'x-bad',
  '\u{1f600}',
  'X-Good',
  'b',
];

/** A response, and what it has written. */
function newResponse() {
  const written: string[] = [];
  const socket = new Socket();
  socket.write = (bytes: string | Uint8Array) => {
    written.push(Buffer.from(bytes).toString('latin1'));
    return true;
  };
  const response = new ServerResponse(new IncomingMessage(socket));
  response.assignSocket(socket);
  return { response, written: () => written.join('') };
}

/** Middleware of others stands before the response, and throws so many times. */
function overtaken(times: number) {
  const made = newResponse();
  const { response } = made;
  const own = response.writeHead.bind(response);
  let left = times;
  response.writeHead = (status: number) => {
    left -= 1;
    if (left >= 0) throw new Error('the middleware throws');
    return own(status);
  };
  return made;
}

describe.each([
  ['Node’s', newResponse],
  ['of middleware', () => overtaken(0)],
])('a response %s', (_whose, make) => {
  test.each(['O\u0001K\u001b\u007f', 'O\r\nK', 'O\u{1f600}K'])(
    'has a clean phrase, and fields that can be sent: %j',
    (phrase) => {
      const { response, written } = make();
      writeHead(response, 200, FIELDS, phrase);
      response.end();
      expect(written()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
      expect(
        written()
          .match(/^x-good: .*$/gim)
          ?.map((line) => line.slice(8)),
      ).toEqual([expect.any(String), 'b']);
      expect(written()).not.toMatch(/bad/);
    },
  );

  test.each([0, 99, 100, 101, 199, 1000, Number.NaN])('throws for the status %d, and takes another', (status) => {
    const { response, written } = make();
    expect(() => writeHead(response, status, ['x-old', '1'], 'Bad\u0001')).toThrow('is no status of an answer');
    refuse(new ResponseSink(response, { closing: () => false }), INTERNAL, []);
    expect(written()).toMatch(/^HTTP\/1\.1 500 Internal Server Error\r\n/);
    expect(written()).not.toContain('x-old');
  });
});

test('a head that somebody’s middleware throws at is taken back, with its phrase', () => {
  const { response, written } = overtaken(1);
  response.setHeader('x-theirs', '1');
  expect(() => writeHead(response, 200, ['x-old', '1'], 'Old')).toThrow('the middleware throws');
  refuse(new ResponseSink(response, { closing: () => false }), INTERNAL, []);
  expect(written()).toMatch(/^HTTP\/1\.1 500 Internal Server Error\r\nx-theirs: 1\r\n/);
  expect(written()).not.toContain('x-old');
});

test('a sink never throws: the client gets 502, and nothing of what follows', () => {
  const { response, written } = overtaken(1);
  const sink = new ResponseSink(response, { closing: () => false });
  sink.head(200, ['content-length', '3']);
  sink.chunk(Buffer.from('abc'));
  sink.end();
  expect(written()).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
  expect(written()).toMatch(/The answer of the server cannot be sent"\}\}$/);
});

test('where nothing can be sent, the connection ends', () => {
  const { response, written } = overtaken(2);
  const sink = new ResponseSink(response, { closing: () => false });
  sink.head(200, []);
  sink.chunk(Buffer.from('abc'));
  sink.end();
  expect([response.destroyed, written()]).toEqual([true, '']);
});
