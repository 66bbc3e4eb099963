# The deployment as a whole: what must agree, what must be shut, what must wait for what.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  target = module.images.aws_ecr_repository.this["proxy"]
  values = {
    arn            = "arn:aws:ecr:eu-west-1:123456789012:repository/mcp/proxy"
    repository_url = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mcp/proxy"
  }
}

override_resource {
  target = module.images.aws_ecr_repository.this["server"]
  values = {
    arn            = "arn:aws:ecr:eu-west-1:123456789012:repository/mcp/server"
    repository_url = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mcp/server"
  }
}

override_resource {
  target = module.proxy.module.task.aws_cloudwatch_log_group.this
  values = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/mcp-proxy" }
}

override_resource {
  target = module.server.module.task.aws_cloudwatch_log_group.this
  values = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/mcp-server" }
}

variables {
  release         = "0123456789ab"
  certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
  allowed_hosts   = ["mcp.example.com"]
  registry_token  = "not-a-secret-0123456789abcdef-0123456789"
}

run "all" {
  # Ports.
  assert {
    condition = length(toset([
      module.load_balancer.target.port,
      module.proxy.rollout.balanced_port,
      module.proxy.ingress["mcp"].port,
      tonumber(local.env.proxy.PORT),
    ])) == 1 && contains(local.open.proxy, module.load_balancer.target.port)
    error_message = "Listener, target group, security group and proxy must mean the same MCP port."
  }
  assert {
    condition = length(toset([
      module.load_balancer.target.health_port,
      module.proxy.ingress["ops"].port,
      tonumber(local.env.proxy.OPS_PORT),
    ])) == 1 && contains(local.open.proxy, module.load_balancer.target.health_port)
    error_message = "The load balancer's health checks must reach the proxy's ops port."
  }
  assert {
    condition = length(toset([
      module.server.discovery.port,
      module.server.ingress.port,
      tonumber(local.env.server.PORT),
    ])) == 1 && contains(local.open.server, module.server.discovery.port)
    error_message = "Cloud Map, security group and server must mean the same port."
  }
  assert {
    condition     = module.server.discovery.record == "SRV"
    error_message = "Only for SRV records ECS registers the port in Cloud Map."
  }
  assert {
    condition     = length(toset(concat([module.registry.settings.port], [for one in module.registry.ingress : one.port]))) == 1
    error_message = "Redis must listen where its security group is open."
  }

  # The same words on both sides.
  assert {
    condition = (
      local.env.proxy.CLOUD_MAP_SERVICE == module.server.discovery.name && local.env.proxy.DISCOVERY == "cloud-map"
    )
    error_message = "The proxy must look where the servers register."
  }
  assert {
    condition     = local.env.proxy.MCP_PATH == local.env.server.MCP_PATH
    error_message = "Proxy and server must serve the same path."
  }
  assert {
    condition = alltrue([
      strcontains(join(" ", module.proxy.container.healthCheck.command), ":${local.env.proxy.OPS_PORT}/healthz'"),
      strcontains(join(" ", module.server.container.healthCheck.command), ":${local.env.server.PORT}${local.env.proxy.HEALTH_PATH}'"),
    ])
    error_message = "Health checks must ask where the programs answer."
  }
  assert {
    condition     = [for one in module.proxy.container.secrets : one.name] == ["REDIS_URL"]
    error_message = "The registry's URL must come from the secret."
  }

  # Doors.
  assert {
    condition     = toset([for one in module.load_balancer.ingress : one.port]) == toset([80, 443])
    error_message = "The load balancer must be open on 80 and 443, and on nothing else."
  }
  assert {
    condition = alltrue([
      for one in concat(values(module.proxy.ingress), [module.server.ingress], values(module.registry.ingress)) :
      one.cidr == null && one.from != null
    ])
    error_message = "No address may connect to proxies, servers or Redis: only security groups."
  }
  assert {
    condition = alltrue([
      alltrue([for one in module.proxy.ingress : one.from == module.load_balancer.security_group_id]),
      module.server.ingress.from == module.proxy.security_group_id,
      toset([for one in module.registry.ingress : one.from]) == toset([
        module.proxy.security_group_id, module.server.security_group_id
      ]),
    ])
    error_message = "Load balancer to proxies, proxies to servers, both to Redis: nobody else to anybody."
  }
  assert {
    condition     = !module.load_balancer.target.sticky && module.load_balancer.target.drops_bad_fields
    error_message = "No stickiness, and no invalid header fields."
  }

  # Roles.
  assert {
    condition = alltrue(flatten([
      for policy in local.policies : [
        for statement in policy.Statement : [for action in flatten([statement.Action]) : !strcontains(action, "*")]
      ]
    ]))
    error_message = "No action may hold a *."
  }
  assert {
    condition = alltrue(flatten([
      for policy in local.policies : [
        for statement in policy.Statement :
        flatten([statement.Action]) == ["ecr:GetAuthorizationToken"] || !contains(flatten([statement.Resource]), "*")
      ]
    ]))
    error_message = "Every action but the registry login must name its resources."
  }

  # Redis.
  assert {
    condition = alltrue([
      module.registry.settings.in_transit,
      module.registry.settings.mode == "required",
      module.registry.settings.at_rest,
    ])
    error_message = "Redis must be encrypted on the wire and at rest."
  }
  assert {
    condition = (
      module.registry.settings.multi_az && module.registry.settings.failover && module.registry.settings.nodes >= 2
    )
    error_message = "Redis must survive a node and a zone."
  }
  assert {
    condition     = module.registry.settings.parameters["maxmemory-policy"] == "noeviction"
    error_message = "Redis must not evict sessions."
  }
  assert {
    condition = alltrue([
      module.registry.settings.token_in == "nothing",
      module.registry.settings.token_number == var.registry_token_version,
      module.registry.settings.secret == var.registry_token_version,
    ])
    error_message = "The token must be in no state, and the same in Redis and in the secret."
  }

  # Times.
  assert {
    # The proxy's own is 320 s.
    condition     = module.load_balancer.idle_timeout == 300 && module.load_balancer.idle_timeout < 320
    error_message = "The proxy must keep connections longer than the load balancer does."
  }
  assert {
    condition = alltrue([
      for name, one in { proxy = module.proxy.container, server = module.server.container } :
      one.stopTimeout == 120 && tonumber(local.env[name].DRAIN_SECONDS) + 5 <= one.stopTimeout
    ])
    error_message = "Tasks must have Fargate's longest stop timeout, and be done before it ends."
  }
  assert {
    condition     = module.load_balancer.target.leaves_after == 60
    error_message = "Open streams use all of the deregistration delay: it must be short."
  }
  assert {
    condition = alltrue([
      for one in [module.proxy.rollout, module.server.rollout] : one.scale_out_cooldown == 60 && one.scale_in_cooldown == 300
    ])
    error_message = "Quick out, slow in."
  }

  # Deployments.
  assert {
    condition     = module.server.rollout.rebalancing == "DISABLED" && module.server.rollout.tasks.desired == 3
    error_message = "Servers must stay where they are, three of them."
  }
  assert {
    condition     = module.proxy.rollout.tasks.min >= 2
    error_message = "One proxy alone cannot be replaced unseen."
  }
  assert {
    condition = alltrue([
      for one in [module.proxy.rollout, module.server.rollout] :
      one.min_percent == 100 && one.max_percent == 200 && one.rolls_back
    ])
    error_message = "New tasks first, then old ones go; a bad release goes back."
  }

  # Containers.
  assert {
    condition = alltrue([
      for one in [module.proxy.container, module.server.container] :
      one.readonlyRootFilesystem && one.user == "1000:1000" && one.linuxParameters.initProcessEnabled
    ])
    error_message = "Containers must not be root, nor write to their image, and have an init process."
  }
  assert {
    condition     = module.proxy.container.image == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mcp/proxy:0123456789ab"
    error_message = "The proxy must run the image of this release."
  }

  # Alarms.
  assert {
    condition = length(setsubtract(
      [
        "sessions-lost", "migrations-failing", "no-backends", "registry-errors", "memory-proxy", "memory-server",
        "memory-registry-1", "memory-registry-2",
      ],
      keys(module.observability.alarms)
    )) == 0
    error_message = "An alarm is missing."
  }
  assert {
    condition     = module.observability.alarms["sessions-lost"].dimension == tomap({ Service = "mcp-proxy" })
    error_message = "The alarm must watch this deployment's proxies."
  }
}
