/** Which session ids can be used, and which one an answer issues. Pure. */
import { HEADER } from './contract.ts';
import type { RawHeaders } from './contract.ts';

/** Visible ASCII (MCP 2025-11-25, "Session Management"). */
const VISIBLE = /^[\x21-\x7E]+$/;
/**
 * Characters. The specification has no limit, and a JWT is long; a client's whole head may have 64 KiB, and this leaves
 * 16 KiB, which is all that Node's servers take by default, for its other fields.
 */
const LONGEST = 48 * 1024;

export function isSessionId(id: string): boolean {
  return id.length <= LONGEST && VISIBLE.test(id);
}

/** `unusable`: no client could send it back; `ids` are what the backend may know the session by. */
export type Issued =
  | { readonly kind: 'none' }
  | { readonly kind: 'id'; readonly id: string }
  | { readonly kind: 'unusable'; readonly why: string; readonly ids: readonly string[] };

/** The session id that an answer to `initialize` issues. The same id said twice is one. */
export function issuedId(headers: RawHeaders): Issued {
  const said = headers.filter((_, at) => at % 2 === 1 && headers[at - 1]?.toLowerCase() === HEADER.session);
  const ids = [...new Set(said)];
  const [id] = ids;
  if (id === undefined) return { kind: 'none' };
  if (ids.length === 1 && isSessionId(id)) return { kind: 'id', id };
  return { kind: 'unusable', why: fault(ids), ids: ids.filter((one) => one !== '') };
}

function fault(ids: readonly string[]): string {
  if (ids.length > 1) return 'the answer has several session ids';
  if (ids.includes('')) return 'the session id is empty';
  if (ids.some((id) => id.length > LONGEST)) return `the session id has more than ${LONGEST} characters`;
  return 'the session id has a character that is not visible ASCII';
}

/** What the backend may know the session by. */
export function idsOfIssued(issued: Issued): readonly string[] {
  if (issued.kind === 'none') return [];
  return issued.kind === 'id' ? [issued.id] : issued.ids;
}
