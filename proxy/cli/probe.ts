/** `mcp-affinity probe`: the survival probe of client/, through any deployment. */

import { probe } from '../../client/probe/run.ts';
import type { Command } from './command.ts';

const command: Command = (given) => probe(given, 'mcp-affinity probe');
export default command;
