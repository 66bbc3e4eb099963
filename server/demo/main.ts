/** The sample server as a program; `server/demo/config.ts` says what its environment may hold. */

import { serve } from './serve.ts';

process.exitCode = await serve(process.env);
