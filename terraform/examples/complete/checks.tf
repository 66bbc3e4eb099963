# What the tests look at, in the words of both sides.

locals {
  containers = { proxy = module.proxy.container, server = module.server.container }
  env        = { for name, one in local.containers : name => { for pair in one.environment : pair.name => pair.value } }
  open       = { for name, one in local.containers : name => [for port in one.portMappings : port.containerPort] }
  policies   = concat(values(module.proxy.policies), values(module.server.policies))
}
