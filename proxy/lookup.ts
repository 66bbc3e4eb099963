/** Asks the registry for a session. */
import { SessionsUnavailable } from './contract.ts';
import type { Session, Sessions } from './contract.ts';

/** `fresh` passes over what this proxy knows. */
export async function lookUp(
  { sessions }: { readonly sessions: Pick<Sessions, 'find'> },
  id: string,
  fresh: boolean,
): Promise<Session | undefined | 'unavailable'> {
  try {
    return await (fresh ? sessions.find(id, { fresh }) : sessions.find(id));
  } catch (error) {
    if (error instanceof SessionsUnavailable) return 'unavailable';
    throw error;
  }
}
