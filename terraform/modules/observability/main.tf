# Alarms that mean something to a person: sessions lost, sessions that cannot move, nobody there, Redis away, memory short.

locals {
  # What the program itself reports, by CloudWatch's embedded metric format.
  own = "McpAffinity"
  # What is counted in the proxies' log lines; of this deployment alone.
  counted = "McpAffinity/${var.name}"

  filters = {
    MigrationsFailed = "{ $.msg = \"migration\" && $.outcome = %^failed$|^unavailable$|^incompatible$% }"
    RegistryDown     = "{ $.msg = \"registry\" && $.state = \"down\" }"
    DiscoveryDown    = "{ $.msg = \"discovery\" && $.state = \"down\" }"
    Faults           = "{ $.level = \"error\" }"
  }

  # What repeats itself is in one line with its count; the others stand for themselves.
  weights = { MigrationsFailed = "$.count", Faults = "$.count" }

  services = { proxy = var.proxy.service_name, server = var.server.service_name }

  counts = {
    migrations-failing = { metric = "MigrationsFailed", limit = 4, says = "Sessions that had to move found no new home" }
    registry-errors    = { metric = "RegistryDown", limit = 0, says = "A proxy lost the registry: new sessions get 503" }
    discovery-errors   = { metric = "DiscoveryDown", limit = 0, says = "Cloud Map fails or names nobody: the last good list is used" }
    faults             = { metric = "Faults", limit = 0, says = "A bug: a proxy logged an error" }
  }

  # `metric`: namespace, name, statistic. An alarm above `limit`, unless `below`, for so many minutes in a row.
  alarms = merge(
    {
      sessions-lost = {
        says       = "Sessions were lost: their clients had to start over"
        metric     = [local.own, "SessionsLost", "Sum"]
        dimensions = { Service = var.proxy.service_name }
        limit      = 0
        minutes    = 1
      }
      no-backends = {
        says       = "No MCP server runs"
        metric     = ["ECS/ContainerInsights", "RunningTaskCount", "Minimum"]
        dimensions = { ClusterName = var.cluster_name, ServiceName = var.server.service_name }
        below      = true
        limit      = 1
        minutes    = 2
        missing    = "breaching"
      }
      refused = {
        says       = "The proxies answer with 5xx: no home was found in time"
        metric     = ["AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "Sum"]
        dimensions = var.load_balancer
        limit      = 10
        minutes    = 2
      }
    },
    {
      for name, one in local.counts : name => {
        says       = one.says
        metric     = [local.counted, one.metric, "Sum"]
        dimensions = {}
        limit      = one.limit
        minutes    = 1
      }
    },
    {
      for name, service in local.services : "memory-${name}" => {
        says       = "The fullest task of ${service} is short of memory"
        metric     = ["AWS/ECS", "MemoryUtilization", "Maximum"]
        dimensions = { ClusterName = var.cluster_name, ServiceName = service }
        limit      = var.memory_percent
        minutes    = 5
      }
    },
    {
      for number, node in var.registry_nodes : "memory-registry-${number + 1}" => {
        says       = "The registry is short of memory: full, it takes no new sessions"
        metric     = ["AWS/ElastiCache", "DatabaseMemoryUsagePercentage", "Maximum"]
        dimensions = { CacheClusterId = node }
        limit      = var.memory_percent
        minutes    = 5
      }
    }
  )
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = local.filters

  name           = each.key
  log_group_name = var.proxy.log_group
  pattern        = each.value

  metric_transformation {
    namespace     = local.counted
    name          = each.key
    value         = lookup(local.weights, each.key, "1")
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.says
  namespace           = each.value.metric[0]
  metric_name         = each.value.metric[1]
  statistic           = each.value.metric[2]
  dimensions          = each.value.dimensions
  period              = 60
  evaluation_periods  = each.value.minutes
  comparison_operator = try(each.value.below, false) ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = each.value.limit
  treat_missing_data  = try(each.value.missing, "notBreaching")
  alarm_actions       = var.alarm_topics
  ok_actions          = var.alarm_topics
}
