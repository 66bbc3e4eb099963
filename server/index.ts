/** `mcp-affinity/server`: what a backend may use in its own app. */

export { createDrain } from './drain.ts';
export type { Drain, DrainOptions } from './drain.ts';
export { sessionMetrics } from './emf.ts';
export type { SessionMetricsOptions } from './emf.ts';
export { findRelease, findTaskId } from './identity.ts';
export { scaleInProtection } from './protection.ts';
export type { Protection, ProtectionOptions, ScaleInProtection } from './protection.ts';
export { sayRelease } from './release.ts';
export { memoryState, redisState } from './state.ts';
export type { RedisScripts, SessionState, StateOptions, StateValue, StateValues } from './state.ts';
