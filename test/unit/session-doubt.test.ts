/** What servers say of a session that they do not know, and what they say of other things. */

import { expect, test } from 'vitest';
import { doubtOf } from '../../proxy/session-doubt.ts';

/** In words alone: 401 says nothing of a session. */
const saidIn = (words: string) => doubtOf({ status: 401, body: Buffer.from(JSON.stringify({ error: words })) });

test.each([
  'Session 1234 not found',
  'Session with given ID not found',
  'Could not find session',
  'Session does not exist',
  'Session "7" doesn\'t exist',
  'No session found',
  'Session has been terminated',
  'sessionId not found',
  'MCP session is unknown on this API instance',
  'Session ID is required in ensureAuthInfo',
  'Unauthorized: Session not found',
  'Bad Request: No valid session ID provided',
  'GET request requires a valid session ID',
  'Mcp-Session-Id header is required',
  'Session has timed out',
  'The session is gone',
  'Session id not recognized',
  'No active transport for session',
  'Transport not found',
  'Bad Request: Server not initialized',
  'session_not_found',
  'SESSION_EXPIRED',
  'SessionNotFoundError',
  'INVALID_SESSION_ID',
])('%s: a doubt', (words) => {
  expect(saidIn(words)).toBe('strong');
});

test.each(['Order 17 not found', 'invalid_token', 'Session saved', 'The token is unknown', 'No such tool', ''])(
  '%s: none',
  (words) => {
    expect(saidIn(words)).toBeUndefined();
  },
);

test.each(['session ', 'session_id ', 'no valid mcp ', 'invalid or missing mcp-', 'the session', 'aB'])(
  'however often "%s" is said, it is read in no time',
  (words) => {
    const body = Buffer.from(words.repeat(4096).slice(0, 4096));
    const start = performance.now();
    doubtOf({ status: 401, body });
    expect(performance.now() - start).toBeLessThan(100);
  },
);
