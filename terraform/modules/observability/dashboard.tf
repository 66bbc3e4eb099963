# One page: sessions and where they are, what they suffer, how the services and the registry are.

data "aws_region" "current" {}

locals {
  cluster = ["ClusterName", var.cluster_name]
  alb     = flatten([for name, value in var.load_balancer : [name, value]])

  graphs = {
    "1 Sessions per task" = [
      [local.own, "ActiveSessions", "Service", var.server.service_name, { stat = "Average", label = "average" }],
      ["...", { stat = "Maximum", label = "fullest task" }],
    ]
    "2 Tasks" = [
      for name, service in local.services :
      ["ECS/ContainerInsights", "RunningTaskCount", local.cluster[0], local.cluster[1], "ServiceName", service, { stat = "Average", label = name }]
    ]
    "3 Migrations, and sessions lost" = [
      [local.own, "Migrations", "Service", var.proxy.service_name, { stat = "Sum", label = "migrated" }],
      [local.own, "SessionsLost", "Service", var.proxy.service_name, { stat = "Sum", label = "lost" }],
      [local.counted, "MigrationsFailed", { stat = "Sum", label = "failed" }],
    ]
    "4 Answers" = [
      for class in ["2XX", "4XX", "5XX"] :
      concat(["AWS/ApplicationELB", "HTTPCode_Target_${class}_Count"], local.alb, [{ stat = "Sum", label = class }])
    ]
    "5 Seconds to the answer's head" = [
      concat(["AWS/ApplicationELB", "TargetResponseTime"], local.alb, [{ stat = "p50", label = "p50" }]),
      ["...", { stat = "p99", label = "p99" }],
    ]
    "6 CPU and memory, percent" = flatten([
      for name, service in local.services : [
        for metric in ["CPUUtilization", "MemoryUtilization"] :
        jsonencode(["AWS/ECS", metric, local.cluster[0], local.cluster[1], "ServiceName", service, { stat = "Maximum", label = "${name} ${metric}" }])
      ]
    ])
    "7 Registry, percent" = flatten([
      for node in var.registry_nodes : [
        for metric in ["EngineCPUUtilization", "DatabaseMemoryUsagePercentage"] :
        jsonencode(["AWS/ElastiCache", metric, "CacheClusterId", node, { stat = "Maximum", label = "${node} ${metric}" }])
      ]
    ])
    "8 Trouble in the proxies' logs" = [
      for name in ["RegistryDown", "DiscoveryDown", "Faults"] : [local.counted, name, { stat = "Sum", label = name }]
    ]
  }
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [
      for index, title in sort(keys(local.graphs)) : {
        type   = "metric"
        x      = index % 2 * 12
        y      = floor(index / 2) * 6
        width  = 12
        height = 6
        properties = {
          title  = substr(title, 2, -1)
          region = data.aws_region.current.region
          view   = "timeSeries"
          period = 60
          # Those that were flattened are still JSON.
          metrics = [for row in local.graphs[title] : try(jsondecode(row), row)]
        }
      }
    ]
  })
}
