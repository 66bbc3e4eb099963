/** How many subscriptions a session may have: they are kept with it, and told to each new home. Pure. */
import { CODE } from './contract.ts';
import type { JsonRpcMessage, Refusal, Session } from './contract.ts';
import { isRequest } from './jsonrpc.ts';

const MOST = 1000;
/** Bytes. */
const LONGEST_URI = 2048;
/** Bytes of all URIs: each change writes the whole session. */
const MOST_BYTES = 256 * 1024;

const refusal = (message: string): Refusal => ({
  kind: 'refuse',
  status: 400,
  code: CODE.invalidParams,
  message: `Invalid params: ${message}`,
  answers: true,
});
const TOO_LONG = refusal(`the URI of a subscription has at most ${LONGEST_URI} bytes`);
const TOO_MANY = refusal(
  `a session has at most ${MOST} subscriptions, whose URIs have ${MOST_BYTES / 1024} KiB together`,
);

/** Why these messages of the session must not reach its home; undefined where they may. */
export function subscriptionFault({ journal }: Session, messages: readonly JsonRpcMessage[]): Refusal | undefined {
  const more = new Set<string>();
  for (const message of messages) {
    if (!isRequest(message) || message.method !== 'resources/subscribe') continue;
    const uri = message.params?.['uri'];
    if (typeof uri !== 'string') continue;
    if (Buffer.byteLength(uri) > LONGEST_URI) return TOO_LONG;
    if (!journal.subscriptions.includes(uri)) more.add(uri);
  }
  if (more.size === 0) return undefined;
  const all = [...journal.subscriptions, ...more];
  const bytes = all.reduce((sum, uri) => sum + Buffer.byteLength(uri), 0);
  return all.length > MOST || bytes > MOST_BYTES ? TOO_MANY : undefined;
}
