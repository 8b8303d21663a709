import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { acceptsKey } from './extended-connect.ts'
import { responseHeaders } from './headers.ts'
import { endWithHead, fieldsOf } from './http2-sink.ts'
import { headOf } from './upgrade.ts'

/** Answers a client that its request's protocol was switched to. `undefined`: the upstream's answer is none, and the client was told. */
export function openClient (request: IncomingMessage, response: ServerResponse, headers: readonly string[], upstream: Duplex): Duplex | undefined {
  return request.httpVersionMajor >= 2 ? openStream(request, response, headers, upstream) : openSocket(request, response, headers, upstream)
}

function openSocket (request: IncomingMessage, response: ServerResponse, headers: readonly string[], upstream: Duplex): Duplex {
  const client: Socket = request.socket
  let text = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n'
  for (let i = 0; i < headers.length; i += 2) if (headers[i]!.toLowerCase() === 'upgrade') text += `Upgrade: ${headers[i + 1]!}\r\n`
  const rest = responseHeaders(headers)
  for (let i = 0; i < rest.length; i += 2) text += `${rest[i]!}: ${rest[i + 1]!}\r\n`
  response.detachSocket(client)
  client.setTimeout(0)
  // Node opens it so without TLS only: with it, what the upstream says after the client's last word would be lost.
  client.allowHalfOpen = true
  client.write(`${text}\r\n`, 'latin1')
  const early = headOf(request)
  if (early !== undefined && early.length > 0) upstream.write(early)
  return client
}

/** Extended CONNECT is answered with 200 (RFC 8441 5), and what follows is the stream's data. */
function openStream (request: IncomingMessage, response: ServerResponse, headers: readonly string[], upstream: Duplex): Duplex | undefined {
  if (!acceptsKey(request, headers)) {
    upstream.destroy()
    endWithHead(response, 502, {})
    return undefined
  }
  const { stream } = request as unknown as Http2ServerRequest
  const fields = fieldsOf(responseHeaders(headers))
  delete fields['sec-websocket-accept']
  delete fields['content-length']
  if (!stream.destroyed) stream.respond({ ...fields, ':status': 200 })
  return stream
}
