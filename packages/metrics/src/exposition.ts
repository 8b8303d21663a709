import { type OpenMetricsContentType, Registry } from 'prom-client'

/** What a scraper accepts: OpenMetrics where it names it and does not prefer the plain text (RFC 9110 12.5.1). */
export function wantsOpenMetrics (accept: string | undefined): boolean {
  let open = 0
  let plain = 0
  for (const range of accept?.split(',') ?? []) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    const q = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? 1)
    if (type === 'application/openmetrics-text') open = q
    else if (type === 'text/plain') plain = q
  }
  return open > 0 && open >= plain
}

/**
 * The registry's metrics as OpenMetrics, whatever its own format is. prom-client's registry renames the counters that it writes in
 * this format: it is given heirs of them, so that the metrics themselves keep their names.
 */
export function openMetrics (registry: Registry): Promise<string> {
  const other = new Registry<OpenMetricsContentType>()
  other.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  for (const metric of registry.getMetricsAsArray()) other.registerMetric(Object.create(metric) as never)
  const { _defaultLabels: labels } = registry as unknown as { readonly _defaultLabels?: object }
  if (labels !== undefined) other.setDefaultLabels(labels)
  return other.metrics()
}
