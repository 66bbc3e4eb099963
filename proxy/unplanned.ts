/** Migrates a session whose home is lost, and says how its exchange goes on. */
import { shun } from './aftermath.ts';
import type { Backend, Decision, Migrated, Session } from './contract.ts';
import { SESSION_NOT_FOUND } from './decide.ts';
import { responseHeaders } from './headers.ts';
import { hold } from './hold.ts';
import { REGISTRY_DOWN } from './refusal.ts';
import { noteOwner } from './owners.ts';
import { lost } from './session-end.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** Homes that fail the handshake though they were reached: one is given another try. */
const MOST_FAILED = 2;
/** However many new homes die one after the other, in the handshake or after it. */
const MOST_MIGRATIONS = 3;
const MOST_DEAD = 3;
/** How long the last one that can be asked may take to begin: what SDK clients wait for an answer. Milliseconds. */
const PATIENCE_MS = 60_000;

/** One migration after each loss: a refused connection is evidence of another one, an answer is not. */
export function spentOn({
  migrations,
  newHomesLost,
  failedMigrations,
  diedInHandshake,
}: Story): 'migrated' | 'failed' | undefined {
  if (migrations > newHomesLost || migrations >= MOST_MIGRATIONS) return 'migrated';
  return failedMigrations >= MOST_FAILED || failedMigrations + diedInHandshake >= MOST_DEAD ? 'failed' : undefined;
}

export async function migrateLost(
  rooms: Rooms,
  story: Story,
  { session, to, reason }: Extract<Decision, { kind: 'migrate' }>,
): Promise<Turn> {
  // Nobody wants it any more, whatever has become of its home.
  if (rooms.endings.has(session.id)) return refused(story, SESSION_NOT_FOUND);
  // What another proxy has done meanwhile, and a registry that is away, must be known before a session is opened.
  if (!story.read) {
    story.fresh = true;
    return 'again';
  }
  const others = rooms.backends.list().some(({ id, suspect }) => id !== to.id && !suspect && !story.tried.has(id));
  const patience = others && story.failedMigrations < MOST_FAILED - 1 ? undefined : PATIENCE_MS;
  const migrated = await rooms.migrator.migrate(session, to, story.exchange, reason, patience);
  return afterMigration(rooms, story, session, to, migrated);
}

async function afterMigration(
  rooms: Rooms,
  story: Story,
  session: Session,
  to: Backend,
  migrated: Migrated,
): Promise<Turn> {
  switch (migrated.kind) {
    case 'migrated':
    case 'raced':
      story.migrations += 1;
      rooms.ejections.succeeded(migrated.session.home.id);
      story.tried.delete(migrated.session.home.id);
      void rooms.streams.changed(migrated.session.id);
      return 'again';
    case 'ended':
      return 'again';
    case 'failed':
      if (migrated.reached && (await rooms.answers(to.origin))) story.failedMigrations += 1;
      else if (migrated.reached) story.diedInHandshake += 1;
      story.tried.set(to.id, shun(rooms, to.id, migrated));
      return 'again';
    case 'unauthorized':
      noteOwner(rooms, session, story.exchange, migrated.status);
      if (story.verdict !== undefined) return refused(story, story.verdict.refusal);
      if (story.sink.shown === 'nothing') {
        story.sink.head(migrated.status, responseHeaders(migrated.headers, undefined));
        story.sink.chunk(migrated.body);
      }
      story.sink.end();
      return { outcome: 'answered', status: migrated.status };
    case 'incompatible':
      return lost(rooms, story, session, SESSION_NOT_FOUND, 'incompatible');
    case 'unavailable':
      story.failedMigrations += 1;
      story.fresh = true;
      return hold(rooms, story, REGISTRY_DOWN);
  }
}
