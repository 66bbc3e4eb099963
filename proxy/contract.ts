/** The nouns of the house as types, and the names used on the wire and in Redis. */

export type JsonObject = { readonly [key: string]: unknown };
export type JsonRpcId = string | number;
export type JsonRpcRequest = {
  readonly jsonrpc: '2.0';
  readonly id: JsonRpcId;
  readonly method: string;
  readonly params?: JsonObject;
};
export type JsonRpcNotification = { readonly jsonrpc: '2.0'; readonly method: string; readonly params?: JsonObject };
export type JsonRpcResult = { readonly jsonrpc: '2.0'; readonly id: JsonRpcId; readonly result: JsonObject };
export type JsonRpcError = {
  readonly jsonrpc: '2.0';
  readonly id?: JsonRpcId | null;
  readonly error: { readonly code: number; readonly message: string; readonly data?: unknown };
};
export type JsonRpcResponse = JsonRpcResult | JsonRpcError;
export type JsonRpcMessage = JsonRpcRequest | JsonRpcNotification | JsonRpcResponse;

/** One running MCP server task. `id` is the task id where discovery knows it, else `host:port`. */
export type Backend = {
  readonly id: string;
  /** Scheme, host and port, as in `http://10.0.0.7:3000`. */
  readonly origin: string;
  readonly zone?: string;
  /** Still serves its sessions and must get no new ones. */
  readonly draining: boolean;
  /** When discovery first found it while others were there, or it came back from the dead, in milliseconds since 1970. */
  readonly since?: number;
  /** Which release it runs, as it says itself; higher is newer. */
  readonly release?: number;
  /** Failed to answer a moment ago: avoided for new sessions while another backend can be had. */
  readonly suspect: boolean;
};

/** What a new home must be told before it can go on with a session. */
export type Journal = {
  /** The raw params of the client's `initialize`. */
  readonly initialize: JsonObject;
  /** The whole message as the client wrote it, where writing its parsed params anew would change them. */
  readonly initializeText?: string;
  /** The client has sent `notifications/initialized`. */
  readonly initialized: boolean;
  /** The level of the last `logging/setLevel` that succeeded. */
  readonly level?: string;
  /** The URIs of live `resources/subscribe`s, in the order they were made. */
  readonly subscriptions: readonly string[];
};

/** One client's conversation. */
export type Session = {
  /** What the client holds; never changes. A bearer secret. */
  readonly id: string;
  /** What the home issued; equals `id` until the first migration. */
  readonly backendSessionId: string;
  readonly home: Pick<Backend, 'id' | 'origin'>;
  /** How often the session has migrated. */
  readonly epoch: number;
  /** New with each stored change: the fence of compare-and-set. */
  readonly revision: string;
  /** How often it has been changed: tells which of two copies is the later one. No fence, as copies may part. */
  readonly changes: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** When it was given its home, in milliseconds since 1970; undefined for its first one. */
  readonly homedAt?: number;
  /** Whose it is, as owner.ts writes it; undefined: anybody's. */
  readonly owner?: string;
  /** When the request came in that made the owner its owner, in milliseconds since 1970; undefined: the first one. */
  readonly ownedAt?: number;
  /** It was opened without credentials, and its home has asked for some since. */
  readonly challenged?: boolean;
  /** The endpoint that it was opened at: at another one its id is unknown. Undefined: at any. */
  readonly path?: string;
  readonly protocolVersion: string;
  readonly capabilities: JsonObject;
  readonly serverInfo: JsonObject;
  readonly journal: Journal;
  /** Tools that are read-only or idempotent by the hints in `tools/list`. */
  readonly safeTools: readonly string[];
  /** A live task (2025-11-25): no planned migration before this, in milliseconds since 1970. */
  readonly busyUntil?: number;
  /** When homes that could be reached did not know it any more: the last few times, in milliseconds since 1970. */
  readonly forgottenAt?: readonly number[];
  /** Its homes ask the client something once the handshake is over; false: one that was waited for did not. */
  readonly asksFirst?: boolean;
};

/** What a request wants, as far as routing cares. */
export type Intent =
  /** `id`: of a session that it names all the same. */
  | { readonly kind: 'open'; readonly initialize: JsonRpcRequest; readonly id?: string }
  | {
      readonly kind: 'continue';
      readonly id: string;
      readonly verb: 'post' | 'listen' | 'end';
      readonly messages: readonly JsonRpcMessage[];
    }
  | { readonly kind: 'any'; readonly messages: readonly JsonRpcMessage[] }
  | {
      readonly kind: 'malformed';
      readonly status: 400 | 405 | 415;
      readonly code: number;
      readonly message: string;
      readonly allow?: string;
      /** Of the request that is refused. */
      readonly id?: JsonRpcId;
      /** It is beyond this. */
      readonly bound?: 'json' | 'initialize';
    };

/** How an earlier attempt of the same exchange ended at a backend. */
export type Fate = 'unsent' | 'gone' | 'lost' | AffinityMark;

/** An answer of our own. `message` is a fixed sentence: nothing inside leaks. */
export type Refusal = {
  readonly kind: 'refuse';
  readonly status: 400 | 404 | 429 | 500 | 502 | 503 | 504 | 508;
  readonly code: number;
  readonly message: string;
  /** Said to a proxy that has sent the request here, as `Mcp-Affinity-Mark`: it may go elsewhere. */
  readonly mark?: 'loop';
  /** Seconds. */
  readonly retryAfter?: number;
  /** The requests that wait get it as their answer, with status 200 (MCP 2025-11-25, "Sending Messages to the Server"). */
  readonly answers?: true;
  /** The session is lost, and ends with this answer; why. */
  readonly ends?: 'policy' | 'forgotten';
};

export type Decision =
  /** `stay`: it drains, and is asked to serve all the same, for there is no other. */
  | { readonly kind: 'forward'; readonly to: Backend; readonly stay?: true }
  | { readonly kind: 'migrate'; readonly session: Session; readonly to: Backend; readonly reason: MigrationReason }
  /** Nobody can take it yet: hold it. */
  | { readonly kind: 'wait' }
  /** Its session needs a new home, and it has caused as many migrations as it may. */
  | { readonly kind: 'spent' }
  /** A DELETE whose home cannot be asked: the session ends here. */
  | { readonly kind: 'end' }
  | Refusal;

/** A whole server-sent event (or a piece of one that is over the bound), with what we read in it. */
export type SseEvent = {
  /** The bytes, the blank line at the end included. */
  readonly raw: Buffer;
  /** The cursor it leaves, as the home named it, if it leaves one. */
  readonly id?: string;
  /** The JSON-RPC messages in its data; empty for comments, priming events and pieces. */
  readonly messages: readonly JsonRpcMessage[];
};

/** Header fields as a flat list of name, value, name, value: order, case and repeats are kept. */
export type RawHeaders = readonly string[];

/**
 * Where an answer goes: the client's response, or something in front of it. It knows what the client has been shown,
 * so that a failed attempt can be continued honestly. Never throws; after the client has left it swallows what it gets.
 */
export interface Sink {
  /** The fields of an answer's head have come, whether it will be shown or not. Before `head`, if that is called at all. */
  heard?(headers: RawHeaders): void;
  /** Status and end-to-end headers. Once; a second head is ignored. `own`: the answer is the proxy's, no backend's. */
  head(status: number, headers: RawHeaders, own?: boolean): void;
  /** One whole event; false means: wait for `drained()` before the next. */
  event(event: SseEvent): boolean;
  /** Bytes as they came; false means: wait for `drained()` before the next. */
  chunk(bytes: Buffer): boolean;
  /** Resolves when more can be written, or the client has left. */
  drained(): Promise<void>;
  /** The answer is complete. */
  end(): void;
  /** Breaks off, so that the client cannot take what it has for the whole. */
  cut(): void;
  /** Every request of the exchange has its answer, though the stream that they came on may stay open. */
  answered?(): void;
  /** `stream`: the head of an event stream, which can be continued; `body`: a part of something that cannot. */
  readonly shown: 'nothing' | 'stream' | 'body';
}

/** One HTTP request of the client, its body read. */
export type Exchange = {
  readonly method: string;
  /** Path and query as the client sent them. */
  readonly target: string;
  /** The endpoint's path, without a slash at its end; undefined where the server is somebody else's. */
  readonly path?: string;
  readonly headers: RawHeaders;
  readonly body: Buffer | undefined;
  readonly intent: Exclude<Intent, { kind: 'malformed' }>;
  /** Who asks, as owner.ts writes it; undefined: owners are not told apart. */
  readonly owner?: string | undefined;
  /** When it came in, in milliseconds since 1970; 0 where that does not matter. */
  readonly at?: number;
  /** A session id that the client has made up, for backends that issue none. */
  readonly ownId?: string;
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal;
};

/** How one try of an exchange at one backend ended. */
export type Attempt =
  /** To its last byte. */
  | { readonly kind: 'answered'; readonly status: number }
  /** No handler ran there: any backend may be tried. */
  | { readonly kind: 'unsent'; readonly cause: Error; readonly blame: 'backend' | 'ours' }
  /** The backend says so itself, by a 421 with our mark; nothing ran. */
  | { readonly kind: 'marked'; readonly mark: AffinityMark }
  /** The backend may have acted. `forgotten`: it does not know the session any more. */
  | {
      readonly kind: 'lost';
      readonly cause: Error;
      readonly unanswered: readonly JsonRpcId[];
      /** The server's own requests that came with the answer, by the ids that the client was shown. */
      readonly questions?: readonly JsonRpcId[];
      readonly forgotten?: true;
    }
  /**
   * It may say that it does not know the session, and may be about something else: only a ping decides. What raised the
   * doubt was not shown. `show` shows it, and says how the attempt ended then.
   */
  | {
      readonly kind: 'doubtful';
      readonly doubt: 'strong' | 'weak';
      readonly status: number;
      readonly unanswered: readonly JsonRpcId[];
      show(): Attempt;
    }
  /** An `initialize` that another backend may answer better. Nothing was shown; `show` shows it. */
  | { readonly kind: 'declined'; readonly status: number; show(): Attempt }
  /** The client left first: nobody's fault. */
  | { readonly kind: 'abandoned' };

/** The registry cannot be reached, or did not answer in time: lost infrastructure, answered with 503. */
export class SessionsUnavailable extends Error {
  override readonly name = 'SessionsUnavailable';
}

/** The registry: session → home. */
export interface Sessions {
  /** Renews the session's idle life. `fresh` passes over any cache. Throws SessionsUnavailable. */
  find(id: string, options?: { readonly fresh?: boolean }): Promise<Session | undefined>;
  /**
   * Awaited before the client is shown the id. 'taken' when a session of that id is there already: two clients must
   * never share one. Throws SessionsUnavailable.
   */
  create(session: Session): Promise<'created' | 'taken'>;
  /**
   * Compare-and-set on `from.revision`; `to.revision` must be new. Returns what is true now: `to` if it was stored,
   * the other writer's session if not, undefined if it has ended. Throws SessionsUnavailable; it may then have been stored.
   */
  replace(from: Session, to: Session): Promise<Session | undefined>;
  /** Idempotent. Returns what has ended, as far as that is known. Throws SessionsUnavailable. */
  end(id: string): Promise<Session | undefined>;
  /** Calls `f` when another proxy has, or may have, replaced or ended the session. Returns an idempotent undo. */
  onChange(f: (id: string) => void): () => void;
  /** Without asking: whether some proxy has it, or it was unknown a moment ago. Where this is missing, asking is cheap. */
  known?(id: string): 'here' | 'nowhere' | 'unclear';
  /** Sessions per backend id: advisory, never throws. */
  countByBackend(): Promise<ReadonlyMap<string, number>>;
  /** How many more sessions can be created now; undefined: as many as come. */
  room?(): number;
  close(): Promise<void>;
}

export type Health = 'alive' | 'draining' | 'dead';

/** Who is alive. */
export interface Backends {
  /** The backends as known now. Cheap, and the same until `onChange` was told of a change. */
  list(): readonly Backend[];
  /** An attempt there failed before a handler ran. */
  suspect(id: string, cause: Error): void;
  /** It says itself that it drains, until it refuses or leaves. */
  drains?(id: string): void;
  /** It answers, whatever was thought of it. */
  answers?(id: string): void;
  /** Calls `f` after the list has changed. Returns an idempotent undo. */
  onChange(f: () => void): () => void;
  close(): Promise<void>;
}

/** What goes on in the sessions whose migration is planned, at every proxy. */
export interface Activity {
  /**
   * Something runs in the session, until `leave`, or a minute after this proxy has died. `moving`: it may not begin now.
   * Throws SessionsUnavailable; it is entered then as soon as that can be said.
   */
  enter(session: string, what: string): Promise<'entered' | 'moving'>;
  /** Where it cannot be said now, it is said as soon as it can be. */
  leave(session: string, what: string): Promise<void>;
  /**
   * Nothing runs there, and nothing may begin until it is released, or for half a minute; undefined if something does.
   * Throws SessionsUnavailable; nothing is claimed then. Where the release cannot be said now, it is as soon as it can be.
   */
  claim(session: string): Promise<(() => Promise<void>) | undefined>;
  close(): void;
}

/** The answers to a question, of whoever answered it in time. */
export type Answers = {
  readonly answers: readonly JsonObject[];
  /** Every other live proxy has answered; so it is where there is no other. */
  readonly complete: boolean;
};

/** Questions and notices between the proxies that share a registry. Best effort: what cannot be sent now is lost. Never throws. */
export interface Peers {
  /**
   * Asks every other proxy. Resolves when each live one has answered, when `until` is true of an answer, or after `ms`
   * milliseconds; at once where nobody else is there, or nobody can be asked now. A proxy that was late once is asked,
   * but not waited for, until it is heard of again.
   */
  ask(
    topic: string,
    message: JsonObject,
    options: { readonly ms: number; readonly until?: (answer: JsonObject) => boolean },
  ): Promise<Answers>;
  /** Tells every other proxy, and waits for nothing. */
  tell(topic: string, message: JsonObject): void;
  /**
   * Handles the messages of a topic that the other proxies send. What `f` returns is the answer to a question:
   * undefined stands for `{}`, as does an error, which is recorded. Where a topic has several handlers, their answers
   * are merged. Returns an idempotent undo.
   */
  on(topic: string, f: (message: JsonObject) => JsonObject | undefined | Promise<JsonObject | undefined>): () => void;
  /** Questions that are open resolve with the answers they have. */
  close(): void;
}

export type Unsent = Extract<Attempt, { kind: 'unsent' }>;

export type Marked = Extract<Attempt, { kind: 'marked' }>;

/**
 * Whether a home knows a session, as its answer to a ping proves; `unclear`: it proves neither. A home that marks its
 * answer says nothing of the session: it drains, or another task is at its address.
 */
export type Known = 'known' | 'unknown' | 'unclear' | Unsent | Marked;

/** One attempt at one backend. Never throws, never retries. */
export interface Upstream {
  send(exchange: Exchange, session: Session | undefined, to: Backend, sink: Sink): Promise<Attempt>;
}

/**
 * - Unplanned: `crash`, the home cannot be reached; `lost`, it does not know the session any more; `identity`, another
 *   task is at its address.
 * - Planned, and only while nothing runs in the session: `drain`; `manual`, a person ordered it; `chaos`, the drill.
 */
export type MigrationReason = 'crash' | 'lost' | 'identity' | PlannedReason;
export type PlannedReason = 'drain' | 'manual' | 'chaos';

export type Migrated =
  /** The session has this home now: ours, or the winner's of a race. */
  | { readonly kind: 'migrated' | 'raced'; readonly session: Session }
  /** The session was ended meanwhile. */
  | { readonly kind: 'ended' }
  /** That backend cannot take it: try another. `reached`: it may have acted on the `initialize`. */
  | { readonly kind: 'failed'; readonly cause: Error; readonly mark?: AffinityMark; readonly reached: boolean }
  /** The new home wants other credentials: its answer goes to the client, the session stays as it is. */
  | { readonly kind: 'unauthorized'; readonly status: number; readonly headers: RawHeaders; readonly body: Buffer }
  /** The new home speaks another protocol version or lacks a capability. */
  | { readonly kind: 'incompatible'; readonly cause: Error }
  /** The registry cannot be reached. */
  | { readonly kind: 'unavailable' };

/** A session's listening streams on their way to what may become its home. What comes on them is kept back. */
export type PreparedStreams = {
  /**
   * `attached`: whoever listens can be reached there, or nobody does, or the home has no such stream; `refused`: the home
   * would not have one of them yet; `late`: another proxy has not said so in time.
   */
  ready(): Promise<'attached' | 'refused' | 'late'>;
  /** It does not become the home. */
  discard(): void;
};

/** Gives a session a new home; credentials come from the exchange. Never throws. */
export interface Migrator {
  /** `waitMs`: how long the backend may take to answer `initialize`; 10,000 by default. */
  migrate(
    session: Session,
    to: Backend,
    exchange: Exchange,
    reason: MigrationReason,
    waitMs?: number,
  ): Promise<Migrated>;
  /** So many sessions are being given a home there that another would have to wait. */
  full(to: Backend): boolean;
  /** Whether the home knows the session still: asks it by a ping. */
  knows(session: Session, home: Backend, exchange: Exchange): Promise<Known>;
  /** DELETEs a backend session that is nobody's home, until that is answered or its backend is gone. In the background. */
  discard(orphan: Session, at: Backend, exchange: Exchange): void;
  /** Leaves what is still to be DELETEd. */
  close(): void;
}

/** Header names, in lower case (MCP, Streamable HTTP; `mcp-affinity-*` are ours, between proxy and backend only). */
export const HEADER = {
  session: 'mcp-session-id',
  protocolVersion: 'mcp-protocol-version',
  lastEventId: 'last-event-id',
  /** The client's id of the session, on every request to a backend that concerns one. */
  affinitySession: 'mcp-affinity-session',
  /** On the `initialize` of a migration: the id that the old home had issued. */
  affinityPrevious: 'mcp-affinity-previous',
  /** From one task's middleware to another's: serve it yourself. */
  affinityHop: 'mcp-affinity-hop',
  /** On every request to a backend: the names of the proxies that have sent it on, the last one's at the end. */
  affinityVia: 'mcp-affinity-via',
  /** The backend's id as the proxy knows it, on every request: what tells a request of ours from any other. */
  affinityBackend: 'mcp-affinity-backend',
  /** There is no other backend: a draining home is asked to serve on. */
  affinityStay: 'mcp-affinity-stay',
  /** With a 421: why this backend does not serve it; with a proxy's 508 `loop`. No handler ran. */
  affinityMark: 'mcp-affinity-mark',
  /** On a backend's answers: the whole number of the release that it runs, as the revision of its task definition. */
  affinityRelease: 'mcp-affinity-release',
  /** Every header with this prefix is ours: a client's own are dropped. */
  affinityPrefix: 'mcp-affinity-',
} as const;

/** The values of `Mcp-Affinity-Mark`: it is to stop, and others should take its sessions; it is not the task meant. */
export type AffinityMark = 'draining' | 'misdirected';
/** The last comment of a listening stream whose session is handed over (SSE comments are ignored by clients). */
export const HAND_OVER = 'mcp-affinity hand-over';

/** JSON-RPC error codes: the standard's, and those MCP servers use. */
export const CODE = {
  parse: -32700,
  invalidRequest: -32600,
  internal: -32603,
  methodNotFound: -32601,
  invalidParams: -32602,
  /** "The outcome is unknown", and our other refusals. */
  server: -32000,
  sessionNotFound: -32001,
} as const;

/** Redis names. `hash` is the SHA-256 of the session id, in hex: an id is a bearer secret. */
export const REDIS = {
  session: (hash: string) => `mcp-affinity:session:${hash}`,
  /** ZSET of the backend ids that have held sessions lately. */
  backends: 'mcp-affinity:backends',
  /** ZSET of session hashes by the time their idle life ends: advisory. */
  held: (backend: string) => `mcp-affinity:held:${backend}`,
  changes: 'mcp-affinity:changes',
  /** Named anew when Redis has lost everything; and the proxy that closes what backends hold for nobody. */
  memory: 'mcp-affinity:memory',
  sweeper: 'mcp-affinity:sweeper',
  /** ZSET of what the backend holds, sealed, by the time to see whether that is to be closed. */
  backendSessions: (backend: string) => `mcp-affinity:backend-sessions:${backend}`,
  /** ZSET of the proxies that live, by how many signs of life each has given. */
  peers: 'mcp-affinity:peers',
  /** Channel of what each proxy sends to all others. */
  messages: 'mcp-affinity:messages',
  /** Channel of the answers to one proxy. */
  answers: (peer: string) => `mcp-affinity:answers:${peer}`,
  /** ZSET of backend ids that are ordered to drain, by the time the order ends. */
  drains: 'mcp-affinity:drains',
  /** ZSET of backend ids that drain in the eyes of some proxy, by the time it said so for the last time. */
  watched: 'mcp-affinity:watched',
  /** ZSET of hashes of sessions that are ordered to migrate, by the time the order ends. */
  orders: 'mcp-affinity:orders',
  /** ZSET of what runs in a session, by the time it counts as dead. One slot with `claim`, for one script uses both. */
  busy: (hash: string) => `mcp-affinity:busy:{${hash}}`,
  /** What a client has, or has done, that is limited: `who` it is, as a hash. */
  limit: (what: string, who: string) => `mcp-affinity:limit:${what}:${who}`,
  /** Held by the proxy that migrates the session. */
  claim: (hash: string) => `mcp-affinity:claim:{${hash}}`,
} as const;
