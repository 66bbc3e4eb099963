/** How sessions get new homes, and their streams and questions with them. */
import type { Activity } from './contract.ts';
import { createFirstQuestions } from './first-questions.ts';
import { createMigrator } from './migrate.ts';
import { STREAMS_MS } from './migration.ts';
import type { MigratorRooms } from './migration.ts';
import { createPeerStreams } from './peer-streams.ts';
import { createQuestions } from './questions.ts';
import type { Rooms } from './story.ts';
import { createStreams } from './streams.ts';

export type MovesRooms = Omit<MigratorRooms, 'prepareStreams' | 'moved'> &
  Pick<Rooms, 'peers' | 'confirmations' | 'quiet'> & { readonly activity: Activity };

export function openMoves(rooms: MovesRooms) {
  const streams = createStreams(rooms.sessions);
  const everywhere = createPeerStreams(streams, rooms.peers, STREAMS_MS);
  const questions = createQuestions(rooms.activity, rooms.peers, streams, rooms.sessions);
  const firstQuestions = createFirstQuestions({ ...rooms, questions, streams });
  const migrator = createMigrator({
    ...rooms,
    prepareStreams: (housed, to) => everywhere.prepare(housed, to),
    moved(session) {
      rooms.confirmations.confirm(session);
      streams.moved(session.id, session);
    },
  });
  const close = (): void => {
    for (const one of [migrator, everywhere, questions, firstQuestions, streams]) one.close();
  };
  return { streams, questions, firstQuestions, migrator, close };
}
