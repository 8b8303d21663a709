import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isGrpc, sendGrpcError } from './grpc.ts'
import type { RouteSettings } from './options.ts'
import type { Page, Pages } from './pages/compile.ts'
import { attachPages, pageFor, sendPage } from './pages/send.ts'
import { ANSWERED, proxyStatus } from './proxy-status.ts'
import { isDefault, standFor } from './route-context.ts'

const CLOSING = [400, 408, 413] as const

/** An error of the proxy itself, on its way to the client. Its `headers` are set by Fastify's default error handler too. */
export interface ProxyError extends FastifyError {
  headers?: Record<string, string>
  /** Members that the problem document has beside the standard ones. */
  extensions?: Record<string, unknown>
}

/** Is it one of the proxy's own, meant for clients? */
export function isProxyError (error: unknown): error is ProxyError {
  const { code, statusCode } = error as ProxyError
  return typeof code === 'string' && code.startsWith('HG_') && typeof statusCode === 'number'
}

/** What is known of a failure. `cause` and `hop` are told to clients only where the route allows it. */
export interface Failure {
  /** Our word for it, as in logs and metrics. */
  readonly reason: string
  readonly cause?: string | undefined
  readonly attempts: number
  /** Host and port of the upstream that was tried last. */
  readonly hop?: string | undefined
}

/** Gives an error its `Proxy-Status`, the members of its problem document, and an end of the connection where one is due. */
export function describeFailure (error: Error, request: FastifyRequest, route: RouteSettings, { reason, cause, attempts, hop }: Failure): void {
  const problem = error as ProxyError
  attachPages(error, route.pages)
  const shown = route.exposeErrors
  problem.headers = { 'proxy-status': proxyStatus(route.viaName, reason, shown ? cause : undefined, shown ? hop : undefined) }
  // What is left of such a request is not worth waiting for, or not to be trusted.
  const closing = (CLOSING as readonly unknown[]).includes(problem.statusCode) && !reason.startsWith(ANSWERED)
  if (closing && request.raw.httpVersionMajor < 2) problem.headers['connection'] = 'close'
  // What is undefined is left out when the document is written.
  if (shown) problem.extensions = { reason, attempts, upstream: hop, cause }
}

/**
 * Answers with a page of `errorPages` where there is one that the client takes, else with a problem document (RFC 9457). Anything that is
 * not the proxy's own error is left to Fastify: it is sent as it is.
 */
export function sendProblem (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void | Promise<void> {
  const page = pageFor(error, request, reply, undefined)
  if (page === undefined) return sendDocument(error, request, reply)
  return sendInstead(page, error, request, reply, () => { sendDocument(error, request, reply) })
}

function tell (error: FastifyError, request: FastifyRequest): void {
  request.log[(error.statusCode ?? 500) >= 500 ? 'error' : 'info']({ err: error }, error.message)
}

async function sendInstead (page: Page, error: FastifyError, request: FastifyRequest, reply: FastifyReply, otherwise: () => void): Promise<void> {
  tell(error, request)
  if (!await sendPage(page, error, request, reply)) otherwise()
}

function sendDocument (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  if (!isProxyError(error)) {
    void reply.send(error)
    return
  }
  const status = error.statusCode!
  tell(error, request)
  void reply.code(status).headers(error.headers ?? {}).header('content-type', 'application/problem+json').send(Buffer.from(JSON.stringify({
    type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, detail: error.message, code: error.code, ...error.extensions
  })))
}

/**
 * Makes a route's scope answer with its `pages`, where it has one for the error, whoever's error it is; else with problem documents as
 * long as `parent` has no error handler of its own; where it has one, set before or after, that one answers.
 */
export function useProblems (scope: FastifyInstance, parent: FastifyInstance, pages: Pages | undefined): void {
  scope.setErrorHandler((error: FastifyError, request, reply) => {
    const grpc = isGrpc(request)
    if (isProxyError(error) && grpc) return sendGrpcError(reply, error)
    const page = grpc ? undefined : pageFor(error, request, reply, pages)
    if (page !== undefined) return sendInstead(page, error, request, reply, () => { sendDocument(error, request, reply) })
    const { errorHandler } = parent
    if (!isDefault(errorHandler)) return errorHandler.call(parent, error, request, reply) as unknown
    if (!isProxyError(error)) throw error
    return sendDocument(error, request, reply)
  })
  standFor(scope.errorHandler, parent)
}
