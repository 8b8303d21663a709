import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'

interface Lazy extends IncomingMessage {
  _read (size: number): void
}

const waiting = new WeakSet<IncomingMessage>()

/** The client holds its body back until it is told to go on. */
export function awaitsContinue (request: IncomingMessage): boolean {
  return waiting.has(request)
}

/**
 * Answers `Expect: 100-continue` when somebody begins to read the body, and not before (RFC 9110 10.1.1): a route that refuses
 * the request saves the client the upload, and a forwarded one waits for the upstream's own 100. Node would answer at once.
 */
export function listenForExpectations (app: FastifyInstance): void {
  if (app.server.listenerCount('checkContinue') > 0) return
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    waiting.add(request)
    const keep = response.shouldKeepAlive
    // Until then nobody knows whether the body will come: what is answered meanwhile ends the connection.
    response.shouldKeepAlive = false
    const lazy = request as Lazy
    const read = lazy._read
    lazy._read = function (size) {
      lazy._read = read
      // Node reads the rest away after a response: that is no invitation.
      if (!response.headersSent) {
        waiting.delete(request)
        response.shouldKeepAlive = keep
        response.writeContinue()
      }
      read.call(request, size)
    }
    app.routing(request, response)
  })
}
