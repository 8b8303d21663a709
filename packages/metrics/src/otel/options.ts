import type { MeterProvider, TracerProvider } from '@opentelemetry/api'
import { checkOptions } from '@headgate/core'

export interface OtelOptions {
  /** A client span for each attempt. @default true */
  readonly spans?: boolean
  /** `http.client.*` metrics of the attempts and connections. @default true */
  readonly metrics?: boolean
  /**
   * `http.server.request.duration` of all routes. Leave it off beside `@opentelemetry/instrumentation-http`, which measures the
   * same. @default false
   */
  readonly serverMetrics?: boolean
  /** Who makes the spans. @default the API's global one */
  readonly tracerProvider?: TracerProvider
  /** Who takes the metrics. @default the API's global one */
  readonly meterProvider?: MeterProvider
}

const schema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    spans: { type: 'boolean' },
    metrics: { type: 'boolean' },
    serverMetrics: { type: 'boolean' },
    tracerProvider: { type: 'object', required: ['getTracer'] },
    meterProvider: { type: 'object', required: ['getMeter'] }
  } satisfies Record<keyof OtelOptions, object>
}

/** Throws `HG_POOL_INVALID_OPTION` with the option's path. */
export function checkOtel (options: OtelOptions): void {
  checkOptions(schema, options, 'options')
}
