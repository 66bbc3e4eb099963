# What can be chosen, and what is refused.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  release         = "0123456789ab"
  certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
  allowed_hosts   = ["mcp.example.com"]
  registry_token  = "not-a-secret-0123456789abcdef-0123456789"
}

run "an_own_network" {
  command = plan

  variables {
    network = {
      vpc_id             = "vpc-0123"
      public_subnet_ids  = ["subnet-a", "subnet-b"]
      private_subnet_ids = ["subnet-c", "subnet-d"]
    }
  }

  assert {
    condition     = length(module.network) == 0
    error_message = "No network may be made where one is given."
  }
}

run "http_is_asked_for" {
  command = plan

  variables {
    certificate_arn = null
    insecure_http   = true
  }

  assert {
    condition     = toset([for one in module.load_balancer.ingress : one.port]) == toset([80])
    error_message = "Without a certificate only port 80 is served."
  }
}

run "no_certificate_and_no_word" {
  command = plan

  module {
    source = "../../modules/load-balancer"
  }

  variables {
    name            = "mcp"
    vpc_id          = "vpc-0123"
    subnet_ids      = ["subnet-a", "subnet-b"]
    target_port     = 8080
    health_port     = 9464
    certificate_arn = null
  }

  expect_failures = [var.certificate_arn]
}

run "idle_longer_than_the_proxy" {
  command = plan

  module {
    source = "../../modules/load-balancer"
  }

  variables {
    name         = "mcp"
    vpc_id       = "vpc-0123"
    subnet_ids   = ["subnet-a", "subnet-b"]
    target_port  = 8080
    health_port  = 9464
    idle_timeout = 320
  }

  expect_failures = [var.idle_timeout]
}

run "a_star" {
  command = plan

  module {
    source = "../../modules/task"
  }

  variables {
    name                 = "mcp-proxy"
    image                = "mcp/proxy:1"
    image_repository_arn = "arn:aws:ecr:eu-west-1:123456789012:repository/mcp/proxy"
    vpc_id               = "vpc-0123"
    cpu                  = 512
    memory               = 1024
    ports                = { mcp = 8080 }
    health_url           = "http://127.0.0.1:8080/"
    permissions          = { All = { actions = ["ecs:*"], resources = ["*"] } }
  }

  expect_failures = [var.permissions]
}

run "root_and_latest" {
  command = plan

  module {
    source = "../../modules/task"
  }

  variables {
    name                 = "mcp-proxy"
    image                = "mcp/proxy:latest"
    image_repository_arn = "arn:aws:ecr:eu-west-1:123456789012:repository/mcp/proxy"
    vpc_id               = "vpc-0123"
    cpu                  = 512
    memory               = 1024
    ports                = { mcp = 80 }
    health_url           = "http://127.0.0.1:8080/"
    user                 = "0:0"
    stop_timeout         = 121
  }

  expect_failures = [var.image, var.ports, var.user, var.stop_timeout]
}

run "a_registry_alone" {
  command = plan

  module {
    source = "../../modules/registry"
  }

  variables {
    name       = "mcp"
    vpc_id     = "vpc-0123"
    subnet_ids = ["subnet-a"]
    clients    = {}
    token      = "short"
    nodes      = 1
  }

  expect_failures = [var.token, var.nodes, var.subnet_ids]
}

run "a_release_that_cannot_be_rolled_back" {
  command = plan

  variables {
    release = "latest"
  }

  expect_failures = [var.release]
}
