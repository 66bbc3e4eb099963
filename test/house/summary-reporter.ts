/** Ends a test run with the line `N passed, N failed`, for scripts. */

import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/** A file that cannot be loaded and an error outside of any test count as one failed test each. */
export class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    let passed = 0;
    let failed = unhandled.length;
    for (const module of modules) {
      passed += [...module.children.allTests('passed')].length;
      const failures = [...module.children.allTests('failed')].length;
      failed += failures === 0 && module.state() === 'failed' ? 1 : failures;
    }
    process.stdout.write(`${passed} passed, ${failed} failed\n`);
  }
}
