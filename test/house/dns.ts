/** A DNS server on a free UDP port whose answers the test changes while it runs. */

import { createSocket } from 'node:dgram';
import { type Answer, type Packet, decode, encode } from 'dns-packet';
import { soon, until } from './until.ts';

export type RecordType = 'A' | 'AAAA' | 'SRV';
export type Target = {
  readonly target: string;
  readonly port: number;
  readonly priority?: number;
  readonly weight?: number;
};
/** What becomes of a question: records, "that name does not exist", a failure, or nothing at all. */
export type Reply = readonly (string | Target)[] | 'NXDOMAIN' | 'SERVFAIL' | 'silence';

const RCODE = { NXDOMAIN: 3, SERVFAIL: 2 } as const;
const AUTHORITATIVE = 1 << 10;

export type TestDns = {
  /** As `dns.setServers` and `Resolver.setServers` take it. */
  readonly server: string;
  /** The reply from now on; a question that nothing is set for has no records. `ttl` in seconds, 0 by default. */
  set(type: RecordType, name: string, reply: Reply, ttl?: number): void;
  /** The same for whatever is asked, until it is called without a reply. */
  all(reply?: Exclude<Reply, readonly unknown[]>): void;
  /** Questions so far, in order, as in `A mcp.test`. */
  readonly asked: readonly string[];
  /** Resolves when this many more questions have come. */
  next(questions?: number): Promise<void>;
  close(): Promise<void>;
};

export async function startDns(): Promise<TestDns> {
  const replies = new Map<string, { readonly reply: Reply; readonly ttl: number }>();
  const asked: string[] = [];
  let always: Reply | undefined;
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => {
    const query = decode(message);
    const [question] = query.questions ?? [];
    if (!question) return;
    const key = `${question.type} ${question.name.toLowerCase()}`;
    asked.push(key);
    const { reply, ttl } = replies.get(key) ?? { reply: [], ttl: 0 };
    const packet = answerTo(query, always ?? reply, ttl);
    if (packet) socket.send(encode(packet), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    server: `127.0.0.1:${socket.address().port}`,
    set: (type, name, reply, ttl = 0) => void replies.set(`${type} ${name.toLowerCase()}`, { reply, ttl }),
    all(reply) {
      always = reply;
    },
    asked,
    async next(questions = 1) {
      const before = asked.length;
      await until(`${questions} questions have come`, () => asked.length >= before + questions);
    },
    close: () => soon('the end of the DNS server', new Promise((resolve) => socket.close(() => resolve()))),
  };
}

function answerTo(query: Packet, reply: Reply, ttl: number): Packet | undefined {
  if (reply === 'silence') return undefined;
  const [question] = query.questions ?? [];
  const head = { type: 'response', id: query.id ?? 0, questions: query.questions ?? [] } as const;
  if (typeof reply === 'string') return { ...head, flags: AUTHORITATIVE | RCODE[reply] };
  const answers = reply.map((data): Answer => {
    const name = question?.name ?? '';
    if (typeof data !== 'string') return { type: 'SRV', name, ttl, data };
    return { type: data.includes(':') ? 'AAAA' : 'A', name, ttl, data };
  });
  return { ...head, flags: AUTHORITATIVE, answers };
}
