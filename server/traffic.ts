/** The requests that came through a proxy and are being served, by session; ends listening streams of quiet sessions. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { HAND_OVER } from '../proxy/contract.ts';
import { overhearBody } from './overhear.ts';
import { createPresences, type Presence, type Running } from './presence.ts';
import { type QuestionReader, questionReader } from './questions.ts';
import { type Head, watchResponse } from './watch.ts';

export type Passage = Running & {
  /** Its proxy has no other backend: its stream is not to be ended. */
  readonly stays: boolean;
  /** A DELETE. */
  readonly ends: boolean;
  /** 0 before the head. */
  status: number;
  stream: Head['stream'];
  /** Of a stream that can be read. */
  reader: QuestionReader | undefined;
  /** Its stream was ended by us. */
  hushed: boolean;
};
export type Guest = Presence<Passage>;

export type Traffic = {
  /** How many responses are not closed, those passed to `count` included. */
  readonly open: number;
  count(response: ServerResponse): void;
  /** Watches a request that handlers serve; `id` is its session's. To be called before they run. */
  serve(
    request: IncomingMessage,
    response: ServerResponse,
    options: { readonly id: string | undefined; readonly stays: boolean },
  ): void;
  /** Something of the session is running or asked here. */
  busy(id: string): boolean;
  handOver(id: string): void;
  sessions(): readonly Guest[];
  /** How many sessions are known and not handed over. */
  waiting(): number;
};

export type TrafficEvents = {
  /** The session may be quiet now, or have a stream that can be ended. */
  readonly changed: (session: Guest) => void;
  /** A response was closed. */
  readonly left: () => void;
};

/** `idleMs`: a session is forgotten so long after its last request. */
export function createTraffic(idleMs: number, { changed, left }: TrafficEvents): Traffic {
  const sessions = createPresences<Passage>(idleMs, Date.now);
  let open = 0;

  const count = (response: ServerResponse) => {
    open += 1;
    response.once('close', () => {
      open -= 1;
      left();
    });
  };
  const leave = (session: Guest, passage: Passage) => {
    session.leave(passage);
    if (passage.status === 404 || (passage.ends && isOk(passage.status))) sessions.forget(session);
    else sessions.rest(session);
    changed(session);
  };

  return {
    get open() {
      return open;
    },
    count,
    serve(request, response, { id, stays }) {
      const passage = newPassage(request, response, stays);
      let session: Guest | undefined;
      const enter = (entered: Guest) => {
        session = entered;
        entered.enter(passage);
        response.once('close', () => leave(entered, passage));
      };
      const known = id === undefined ? undefined : passage.ends ? sessions.find(id) : sessions.use(id);
      if (known) enter(known);
      count(response);

      const head = ({ status, session: opened, stream }: Head) => {
        Object.assign(passage, { status, stream, reader: stream === 'plain' ? questionReader() : undefined });
        if (!session && opened !== undefined && isOk(status) && !passage.ends) enter(sessions.use(opened));
        if (session && isOk(status)) session.confirm();
        if (session) setImmediate(changed, session);
      };
      const bytes = (chunk: Uint8Array) => {
        for (const asking of passage.reader?.read(chunk) ?? []) session?.note(asking, passage);
        // Not in the middle of the handler's write: what follows from it may end the stream.
        if (session) setImmediate(changed, session);
      };
      watchResponse(response, { head, bytes }, () => passage.hushed);
      if (known?.asking && request.method === 'POST') overhearBody(request, (body) => known.answered(body));
    },
    busy: (id) => sessions.find(id)?.quiet === false,
    handOver: (id) => sessions.handOver(id),
    sessions: () => sessions.all(),
    waiting: () => sessions.waiting(),
  };
}

/** The session's listening streams that a comment may end now; none while it is not quiet. */
export function endable(session: Guest): readonly Passage[] {
  if (!session.quiet) return [];
  return [...session.running].filter(
    ({ listening, stays, hushed, stream, reader, response }) =>
      listening && !stays && !hushed && stream && (reader?.whole ?? true) && !response.writableEnded,
  );
}

/** Ends the streams that may be ended now, with the comment that tells why. */
export function hush(session: Guest): void {
  for (const passage of endable(session)) {
    passage.hushed = true;
    passage.response.end(`: ${HAND_OVER}\n\n`);
  }
}

function newPassage({ method }: IncomingMessage, response: ServerResponse, stays: boolean): Passage {
  const fixed = { response, listening: method === 'GET', ends: method === 'DELETE', stays };
  return { ...fixed, status: 0, stream: undefined, reader: undefined, hushed: false };
}

function isOk(status: number): boolean {
  return status >= 200 && status < 300;
}
