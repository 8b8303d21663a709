import { readOrcaBinary } from './orca-binary.ts'

/** Characters of a report that are looked at; a load balancer's header need not be longer. */
const LIMIT = 8192

/**
 * The utilization in a value of `endpoint-load-metrics`, the load report of ORCA (Open Request Cost Aggregation, the message
 * `xds.data.orca.v3.OrcaLoadReport`), in its text form (`TEXT cpu_utilization=0.3,named_metrics.q=2`), its JSON form
 * (`JSON {"cpu_utilization":0.3}`) or its binary form (`BIN` and base64). `metric` names another one than `application_utilization`, else `cpu_utilization`.
 * `undefined`: nothing in it that counts.
 */
export function readOrca (value: string, metric: string | undefined): number | undefined {
  if (value.length > LIMIT) return undefined
  const text = value.trim()
  if (/^bin\s/i.test(text)) return readOrcaBin(text.slice(4).trim(), metric)
  const read = /^json\s/i.test(text) || text.startsWith('{') ? fromJson(text.replace(/^json\s+/i, '')) : fromText(text.replace(/^text\s+/i, ''))
  return read === undefined ? undefined : utilizationOf(read, metric)
}

/** Likewise of a value of `endpoint-load-metrics-bin`, which gRPC servers send: the message itself, in base64 with or without padding. */
export function readOrcaBin (value: string, metric: string | undefined): number | undefined {
  if (value.length > LIMIT || !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined
  const metrics = readOrcaBinary(Buffer.from(value, 'base64'))
  return metrics === undefined ? undefined : utilizationOf((name) => metrics.get(name), metric)
}

function utilizationOf (read: Read, metric: string | undefined): number | undefined {
  if (metric !== undefined) return valid(read(metric))
  const application = valid(read('application_utilization'))
  // proto3 leaves zeros out, so a zero may only mean that nobody measures it.
  return application !== undefined && application > 0 ? application : valid(read('cpu_utilization')) ?? application
}

type Read = (metric: string) => unknown

function fromText (text: string): Read | undefined {
  const metrics = new Map<string, string>()
  for (const pair of text.split(',')) {
    const [, name, value] = /^\s*([\w.-]+)\s*[=:]\s*(\S+)\s*$/.exec(pair) ?? []
    if (name !== undefined) metrics.set(name, value!)
  }
  return metrics.size === 0 ? undefined : (metric) => metrics.get(metric)
}

function fromJson (text: string): Read | undefined {
  let report: unknown
  try {
    report = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof report !== 'object' || report === null) return undefined
  return (metric) => {
    const dot = metric.indexOf('.')
    const names = dot === -1 ? [metric] : [metric.slice(0, dot), metric.slice(dot + 1)]
    let value: unknown = report
    for (const name of names) {
      if (typeof value !== 'object' || value === null) return undefined
      // Protocol buffers' JSON has camelCase names; both are in use.
      const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
      const key = [name, camel].find((key) => Object.hasOwn(value as object, key))
      value = key === undefined ? undefined : (value as Record<string, unknown>)[key]
    }
    return value
  }
}

function valid (value: unknown): number | undefined {
  if (typeof value !== 'number' && (typeof value !== 'string' || !/^\d*\.?\d+(e[+-]?\d+)?$/i.test(value))) return undefined
  const number = Number(value)
  return number >= 0 && number < Infinity ? number : undefined
}
