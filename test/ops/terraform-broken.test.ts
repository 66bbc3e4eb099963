/** The tests of the Terraform notice what they are for: each row breaks one thing, and they must fail by its name. */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EXAMPLE, TERRAFORM, TERRAFORM_MS, terraform } from '../house/terraform.ts';

/** What is broken, where, what stands there, what stands there then, and what the tests must say. */
const BROKEN = [
  ['a wrong port', 'modules/proxy/main.tf', /tostring\(var\.port\)/, '"8081"', 'must mean the same MCP port'],
  ['a wrong health port', 'examples/complete/main.tf', /= 9464/, '= 9465', "must reach the proxy's ops port"],
  [
    'another port in Cloud Map',
    'modules/server/main.tf',
    /container_port = var\.port/,
    'container_port = 3001',
    'Cloud Map',
  ],
  ['records without ports', 'modules/server/main.tf', /"SRV"/, '"A"', 'Only for SRV records'],
  ['a missing rule', 'modules/proxy/main.tf', /for_each = local\.ports/, 'for_each = { mcp = var.port }', '"ops"'],
  [
    'an open door',
    'modules/server/main.tf',
    /referenced_security_group_id = var\.proxy_security_group_id/,
    'cidr_ipv4 = "0.0.0.0/0"',
    'only security groups',
  ],
  ['a * action', 'modules/task/roles.tf', /ecr:BatchGetImage/, 'ecr:*', 'No action may hold a *'],
  ['a * action of the program', 'modules/server/main.tf', /ecs:GetTaskProtection/, 'ecs:*', 'no action may hold a *'],
  ['any resource', 'modules/proxy/main.tf', /\[var\.discovery\.namespace_arn,.*\]/, '["*"]', 'must name its resources'],
  ['Redis in the open', 'modules/registry/main.tf', /"required"/, '"preferred"', 'must be encrypted'],
  ['sessions evicted', 'modules/registry/main.tf', /"noeviction"/, '"volatile-lru"', 'must not evict'],
  ['the token in the state', 'modules/registry/main.tf', /auth_token_wo {2,}=/, 'auth_token =', 'phemeral'],
  ['a short stop timeout', 'modules/task/main.tf', /= var\.stop_timeout/, '= 30', 'longest stop timeout'],
  ['a quick way in', 'modules/server/scaling.tf', /scale_in_cooldown {2}= 300/, 'scale_in_cooldown = 60', 'slow in'],
  [
    'a longer idle timeout',
    'modules/load-balancer/variables.tf',
    /default {5}= 300/,
    'default = 310',
    'must keep connections',
  ],
] as const;

test.for(BROKEN)('%s', { timeout: TERRAFORM_MS }, async ([, file, there, then, says], { skip }) => {
  const copy = mkdtempSync(join(tmpdir(), 'mcp-affinity-terraform-'));
  try {
    cpSync(TERRAFORM, copy, { recursive: true });
    const whole = readFileSync(join(copy, file), 'utf8');
    const broken = whole.replace(there, then);
    expect(broken).not.toBe(whole);
    writeFileSync(join(copy, file), broken);
    const ran = await terraform(join(copy, EXAMPLE), 'test', '-no-color', '-filter=tests/complete.tftest.hcl');
    if (ran.kind === 'none') return skip(ran.why);
    expect(ran.code).not.toBe(0);
    expect(ran.out.replace(/\s+/g, ' ')).toContain(says);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
});
