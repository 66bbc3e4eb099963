/** Messages between the proxies that share a Redis: published to all, and answered on a channel of the asker's own. */

import { type Answers, type JsonObject, type Peers, REDIS } from '../contract.ts';
import type { Telemetry } from '../events.ts';
import type { RedisConnection } from '../redis/connection.ts';
import { newAsks } from './asks.ts';
import { newBeat } from './beat.ts';
import { newMembers } from './members.ts';
import { newTopics } from './topics.ts';
import { type PeerMessage, readMessage, writeMessage } from './wire.ts';

/** Milliseconds between signs of life, and after which a proxy that gives none is dead. */
const BEAT_EVERY = 2_000;
const LIFE = 6_000;
/** Milliseconds between times that Redis is seen to have lost something, as one that evicts keys may do again and again. */
const DOUBT_EVERY = 10_000;
/** Messages on their way to Redis; more are dropped. */
const MOST_SENT = 1_024;

export type RedisPeersOptions = {
  /** Told `fault` events. */
  readonly record: Telemetry['record'];
  /** Milliseconds: 2,000 and 6,000 by default. */
  readonly beatEveryMs?: number;
  readonly lifeMs?: number;
};

type Content = PeerMessage extends infer M ? (M extends PeerMessage ? Omit<M, 'from'> : never) : never;

/** Messages carry no session's id. While messages of others cannot be heard, nobody is asked. */
export function redisPeers(redis: RedisConnection, options: RedisPeersOptions): Peers {
  const { record, beatEveryMs = BEAT_EVERY, lifeMs = LIFE } = options;
  const { self, link } = redis;
  const members = newMembers(self, lifeMs, () => performance.now());
  const asks = newAsks((peer) => members.late(peer));
  const topics = newTopics(record);
  const send = newSender(redis, record);
  const hear = newHearer({ self, members, asks, topics, send });
  const presence = newPresence(redis, members, { send, beatEveryMs, lifeMs, onAway: asks.failAll });
  const undo = [link.hear(REDIS.messages, hear), link.hear(REDIS.answers(self), hear), () => presence.close()];

  return {
    async ask(topic, message, { ms, until }): Promise<Answers> {
      if (!presence.here()) return { answers: [], complete: false };
      const peers = members.live();
      if (peers.size === 0) return { answers: [], complete: true };
      const ask = asks.open({ peers, ms, until });
      if (!ask) return { answers: [], complete: false };
      const sent = send(REDIS.messages, { kind: 'message', topic, message, ask: ask.number });
      void sent.then((done) => done || asks.failed(ask.number));
      return ask.done;
    },
    tell: (topic, message) => void send(REDIS.messages, { kind: 'message', topic, message }),
    on: topics.on,
    close() {
      for (const one of undo.splice(0)) one();
      asks.failAll();
      topics.clear();
    },
  };
}

type Send = (channel: string, content: Content) => Promise<boolean>;

/** Once, and without waiting for a Redis that is away: says whether it was sent. */
function newSender({ client, self }: RedisConnection, record: Telemetry['record']): Send {
  let sending = 0;
  return async (channel, content) => {
    const text = writeMessage({ ...content, from: self });
    if (text === undefined)
      record({ type: 'fault', error: new Error('A message to the other proxies is too long, or no JSON') });
    if (text === undefined || sending >= MOST_SENT) return false;
    sending += 1;
    try {
      await client.publish(channel, text);
      return true;
    } catch {
      return false;
    } finally {
      sending -= 1;
    }
  };
}

type Parts = {
  readonly self: string;
  readonly members: ReturnType<typeof newMembers>;
  readonly asks: ReturnType<typeof newAsks>;
  readonly topics: ReturnType<typeof newTopics>;
  readonly send: Send;
};

function newHearer({ self, members, asks, topics, send }: Parts): (text: string) => void {
  async function answer(from: string, ask: number, topic: string, asked: JsonObject): Promise<void> {
    const message = await topics.handle(topic, asked);
    if (message === undefined) return;
    const channel = REDIS.answers(from);
    const sent = await send(channel, { kind: 'answer', ask, message });
    // It was too long, maybe: nobody should wait for it.
    if (!sent) await send(channel, { kind: 'answer', ask, message: {} });
  }
  return (text) => {
    const heard = readMessage(text);
    if (heard === undefined || heard.from === self) return;
    const { from } = heard;
    members.heard(from);
    switch (heard.kind) {
      case 'joined':
        // Redis may have lost who lives, and then it told the new one of nobody.
        void send(REDIS.answers(from), { kind: 'present' });
        asks.joined(from);
        return members.joined(from);
      case 'present':
        return members.joined(from);
      case 'leaving':
        members.left(from);
        return asks.left(from);
      case 'answer':
        return asks.answered(heard.ask, from, heard.message);
      case 'message':
        if (heard.ask === undefined) void topics.handle(heard.topic, heard.message);
        else void answer(from, heard.ask, heard.topic, heard.message);
    }
  };
}

type PresenceOptions = {
  readonly send: Send;
  readonly beatEveryMs: number;
  readonly lifeMs: number;
  /** Messages are not heard any more. */
  readonly onAway: () => void;
};

/** This proxy is among those that live while it hears the others, and no longer than that. */
function newPresence(redis: RedisConnection, members: Parts['members'], options: PresenceOptions) {
  const { send, beatEveryMs, lifeMs, onAway } = options;
  const { self, link } = redis;
  const { beat, leave } = newBeat(redis, lifeMs);
  const word = (kind: 'joined' | 'leaving'): string => writeMessage({ from: self, kind }) ?? '';
  /** New with each link: what was begun on an earlier one says nothing of this. */
  let linked: object | undefined;
  let here = false;
  let doubtful = false;
  let doubtedAt = -DOUBT_EVERY;

  async function sign(mine: object): Promise<void> {
    try {
      const heard = await beat(members.dead(), here ? '' : word('joined'));
      // It is not stored, so it is said.
      if (heard === undefined) return void (await send(REDIS.messages, { kind: 'present' }));
      members.update(heard.signs);
      if (mine !== linked) return;
      here = true;
      doubtful ||= heard.setBack;
      if (doubtful) doubt();
    } catch {
      // The circuit has said so; the next one is soon.
    }
  }
  /** What each proxy then does costs a call for each session that it knows. */
  const doubt = (): void => {
    const at = performance.now();
    if (at - doubtedAt < DOUBT_EVERY) return;
    doubtedAt = at;
    doubtful = false;
    redis.doubt();
  };
  const undo = link.onLink((now) => {
    here = false;
    linked = now ? {} : undefined;
    if (linked) void sign(linked);
    else onAway();
  });
  const beats = setInterval(() => linked && void sign(linked), beatEveryMs).unref();

  return {
    here: () => here,
    close() {
      undo();
      clearInterval(beats);
      if (linked) leave(word('leaving'));
      linked = undefined;
      here = false;
    },
  };
}
