/** How the tests run: real sockets and processes on two cores, and one line of summary at the end. */

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { SummaryReporter } from './test/house/summary-reporter.ts';

// Hundreds of processes start from the same sources.
process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'mcp-affinity-compile-cache');

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    restoreMocks: true,
    unstubEnvs: true,
    reporters: ['default', new SummaryReporter()],
  },
});
