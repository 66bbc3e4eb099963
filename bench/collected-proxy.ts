/** The proxy as it is shipped, whose garbage is collected at each SIGUSR2: what is left is what it keeps. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { z } from 'zod';

setFlagsFromString('--expose-gc');
const collect = z.custom<() => void>((one) => typeof one === 'function').parse(runInNewContext('gc'));
process.on('SIGUSR2', () => collect());
await import('../proxy/cli.ts');
