import { type Span, SpanKind, SpanStatusCode, type TextMapSetter, type Tracer, propagation, trace } from '@opentelemetry/api'
import { type AttemptMessage, type DispatchMessage, type Lease, type Pool, channels } from '@headgate/core'
import { errorType, spanName, startAttributes } from './attributes.ts'
import { Parents } from './parents.ts'

/** Sets a field of a flat list of names and values, whatever the client sent under that name. */
const setter: TextMapSetter<string[]> = {
  set (headers, key, value) {
    drop(headers, key)
    // It belongs to the client's own traceparent (W3C Trace Context 3.3); the new one's, if there is one, follows.
    if (key === 'traceparent') drop(headers, 'tracestate')
    headers.push(key, value)
  }
}

function drop (headers: string[], name: string): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if (headers[i]!.length === name.length && headers[i]!.toLowerCase() === name) headers.splice(i, 2)
  }
}

/** A client span for each attempt of an app's pools, passed on to the upstream in the fields of the API's propagator. */
export class AttemptSpans {
  readonly #tracer: Tracer
  readonly #ours: (pool: Pool) => boolean
  readonly #parents = new Parents()
  readonly #spans = new WeakMap<Lease, Span>()

  constructor (tracer: Tracer, ours: (pool: Pool) => boolean) {
    this.#tracer = tracer
    this.#ours = ours
  }

  start (): void {
    this.#parents.start()
    channels.dispatch.subscribe(this.#onDispatch)
    channels.attempt.subscribe(this.#onAttempt)
  }

  /** Spans of attempts that still run are not ended: call it when the pools are closed. */
  stop (): void {
    this.#parents.stop()
    channels.dispatch.unsubscribe(this.#onDispatch)
    channels.attempt.unsubscribe(this.#onAttempt)
  }

  readonly #onDispatch = (message: unknown): void => {
    const dispatch = message as DispatchMessage
    if (!this.#ours(dispatch.source)) return
    const parent = this.#parents.of(dispatch.request)
    const span = this.#tracer.startSpan(spanName(dispatch.method), { kind: SpanKind.CLIENT, attributes: startAttributes(dispatch) }, parent)
    this.#spans.set(dispatch.lease, span)
    propagation.inject(trace.setSpan(parent, span), dispatch.headers, setter)
  }

  readonly #onAttempt = (message: unknown): void => {
    const attempt = message as AttemptMessage
    const span = this.#spans.get(attempt.lease)
    if (span === undefined) return
    if (span.isRecording()) {
      const { status, reason, outcome, sent, received } = attempt
      const error = errorType(attempt)
      span.setAttributes({
        ...status > 0 && { 'http.response.status_code': status },
        ...error !== undefined && { 'error.type': error },
        ...reason !== '' && { 'headgate.reason': reason },
        'headgate.outcome': outcome,
        'http.request.body.size': sent,
        'http.response.body.size': received
      })
      // No description where the status code says it all.
      if (error !== undefined) span.setStatus(outcome === 'ok' ? { code: SpanStatusCode.ERROR } : { code: SpanStatusCode.ERROR, message: error })
    }
    span.end()
  }
}
