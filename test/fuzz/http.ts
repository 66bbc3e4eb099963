/** HTTP/1.1 as strictly as it can be read (RFC 9112): what is not one clear message is a fault of who has sent it. */

export type Head = {
  readonly line: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
};
export type Message = Head & {
  /** Its content, without its framing. */
  readonly body: string;
};
/** `more`: it is not whole yet; bytes are Latin-1. */
export type Read = { readonly message: Message; readonly rest: string } | 'more' | { readonly fault: string };

const NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
// oxlint-disable-next-line no-control-regex -- what must not be there is told by its code
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const SIZE = /^([\da-f]{1,8})(?:;[\t\x20-\x7e\x80-\xff]*)?$/i;

export function valuesOf({ fields }: Head, name: string): readonly string[] {
  return fields.flatMap(([own, value]) => (own.toLowerCase() === name ? [value] : []));
}

export function readRequest(text: string): Read {
  const head = readHead(text, /^[!#$%&'*+.^_`|~\w-]+ [\x21-\x7e\x80-\xff]+ HTTP\/1\.1$/);
  if ('more' in head || 'fault' in head) return 'more' in head ? 'more' : head;
  return readBody(head, head.rest, false, 'nothing');
}

/** `method` of the request that it answers; `ended`: no more comes. Interim answers are read past. */
export function readAnswer(text: string, method: string, ended: boolean): Read {
  const head = readHead(text, /^HTTP\/1\.1 [1-9]\d\d [\t\x20-\x7e\x80-\xff]*$/);
  if ('more' in head || 'fault' in head) return 'more' in head ? 'more' : head;
  const status = statusOf(head);
  if (status >= 100 && status < 200) return readAnswer(head.rest, method, ended);
  if (method === 'HEAD' || status === 204 || status === 304) {
    return { message: { ...head, body: '' }, rest: head.rest };
  }
  return readBody(head, head.rest, ended, 'until the end');
}

export function statusOf({ line }: Head): number {
  return Number(line.split(' ', 2)[1]);
}

function readHead(text: string, line: RegExp): (Head & { rest: string }) | { more: true } | { fault: string } {
  const end = text.indexOf('\r\n\r\n');
  if (end === -1) {
    return text.length > 200_000 ? { fault: 'a head without end' } : { more: true };
  }
  const [first = '', ...lines] = text.slice(0, end).split('\r\n');
  if (!line.test(first)) return { fault: `the line ${JSON.stringify(first.slice(0, 200))}` };
  const fields: [string, string][] = [];
  for (const one of lines) {
    const colon = one.indexOf(':');
    const [name, value] = [one.slice(0, colon), one.slice(colon + 1)];
    if (colon === -1 || !NAME.test(name) || !VALUE.test(value)) return { fault: `the field ${JSON.stringify(one)}` };
    fields.push([name, value.replaceAll(/^[\t ]+|[\t ]+$/g, '')]);
  }
  return { line: first, fields, rest: text.slice(end + 4) };
}

function readBody(head: Head, text: string, ended: boolean, otherwise: 'nothing' | 'until the end'): Read {
  const lengths = valuesOf(head, 'content-length');
  const codings = valuesOf(head, 'transfer-encoding');
  if (lengths.length + codings.length > 1) return { fault: `framed by ${[...lengths, ...codings].join(' and ')}` };
  const [length] = lengths;
  const [coding] = codings;
  if (length !== undefined) {
    if (!/^\d{1,10}$/.test(length)) return { fault: `the length ${length}` };
    if (text.length < Number(length)) return 'more';
    return { message: { ...head, body: text.slice(0, Number(length)) }, rest: text.slice(Number(length)) };
  }
  if (coding !== undefined) return coding === 'chunked' ? readChunks(head, text) : { fault: `the coding ${coding}` };
  if (otherwise === 'nothing') return { message: { ...head, body: '' }, rest: text };
  return ended ? { message: { ...head, body: text }, rest: '' } : 'more';
}

function readChunks(head: Head, text: string): Read {
  let body = '';
  let at = 0;
  for (;;) {
    const line = text.indexOf('\r\n', at);
    if (line === -1) return 'more';
    const size = SIZE.exec(text.slice(at, line))?.[1];
    if (size === undefined) return { fault: `the chunk ${JSON.stringify(text.slice(at, line).slice(0, 100))}` };
    const length = Number.parseInt(size, 16);
    at = line + 2;
    if (length === 0) return readTrailers(head, body, text, at);
    if (text.length < at + length + 2) return 'more';
    body += text.slice(at, at + length);
    if (text.slice(at + length, at + length + 2) !== '\r\n') return { fault: 'a chunk that is not of its size' };
    at += length + 2;
  }
}

function readTrailers(head: Head, body: string, text: string, from: number): Read {
  let at = from;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end === -1) return 'more';
    const line = text.slice(at, end);
    at = end + 2;
    if (line === '') return { message: { ...head, body }, rest: text.slice(at) };
    if (!/^[\w-]+:/.test(line)) return { fault: `the trailer ${JSON.stringify(line)}` };
  }
}
