// An origin server on a port that is given (0: any), to be killed; prints its port.
import { createServer } from 'node:http'

const server = createServer((_request, response) => response.end('well'))
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(server.address().port))
