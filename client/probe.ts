/** `npm run probe`: one unmodified client keeps one session through a deployment, and tells what became of it. */

import { probe } from './probe/run.ts';

// Not exitCode: a server that never answers must not keep a probe alive that is done.
process.exit(await probe(process.argv.slice(2), 'npm run probe --'));
