/** Which other proxies live, by the signs of life that Redis counts, and which of them answer. */

/** Proxies in Redis, each with how many signs of life it has given. */
export type Signs = ReadonlyMap<string, number>;

type Member = {
  signs: number;
  /** When it was heard of last, or its signs were more than before, in milliseconds. */
  seenAt: number;
  /** It did not answer in time, and nothing was heard of it since. */
  silent: boolean;
  /** It said that it stops; an older answer of Redis may still name it. */
  leaving: boolean;
};

/** More are not kept: names come from outside. */
const MOST = 1_000;

export type Members = {
  /** Those that live, and whether each is silent. */
  readonly live: () => ReadonlyMap<string, boolean>;
  /** A message of its came. */
  readonly heard: (peer: string) => void;
  readonly joined: (peer: string) => void;
  readonly left: (peer: string) => void;
  readonly late: (peer: string) => void;
  /** Who is there, as Redis says. Whom it names no more it may have lost: such a one lives on until its time is over. */
  readonly update: (signs: Signs) => void;
  /** Those whose time is over, as Redis may forget them. */
  readonly dead: () => Signs;
};

/**
 * A proxy is dead when nothing was seen of it for `lifeMs`, by the clock of this proxy alone: those of two machines may
 * differ by more. `now` is in milliseconds.
 */
export function newMembers(self: string, lifeMs: number, now: () => number): Members {
  const members = new Map<string, Member>();
  const lives = ({ seenAt, leaving }: Member): boolean => !leaving && now() - seenAt < lifeMs;
  const see = (peer: string, seen: Partial<Member>): void => {
    const member = members.get(peer);
    if (member) Object.assign(member, { seenAt: now() }, seen);
    else if (peer !== self && members.size < MOST)
      members.set(peer, { signs: 0, seenAt: now(), silent: false, leaving: false, ...seen });
  };

  return {
    live: () => new Map([...members].flatMap(([peer, member]) => (lives(member) ? [[peer, member.silent]] : []))),
    heard(peer) {
      if (members.has(peer)) see(peer, { silent: false });
    },
    joined: (peer) => see(peer, { silent: false, leaving: false }),
    left(peer) {
      if (members.has(peer)) see(peer, { leaving: true });
    },
    late(peer) {
      const member = members.get(peer);
      if (member) member.silent = true;
    },
    update(signs) {
      for (const [peer, member] of members) if (!signs.has(peer) && !lives(member)) members.delete(peer);
      for (const [peer, count] of signs) if (members.get(peer)?.signs !== count) see(peer, { signs: count });
    },
    dead: () =>
      new Map([...members].flatMap(([peer, member]) => (lives(member) ? [] : [[peer, member.signs] as const]))),
  };
}
