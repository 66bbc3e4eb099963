# Images of one build: `docker build --target proxy .`, `docker build --target server .` (the sample server), and `front`
# for docker-compose.yml.

# On the builder's own platform: nothing here is native code.
FROM --platform=$BUILDPLATFORM node:24-trixie-slim AS sources
WORKDIR /app
COPY package.json package-lock.json ./

FROM sources AS build
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY proxy proxy
COPY server server
COPY client client
RUN npm run build

FROM sources AS dependencies
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-trixie-slim AS runtime
ENV NODE_ENV=production HOST=0.0.0.0
# Nothing that could install something.
RUN rm -rf /usr/local/lib/node_modules /opt/yarn* \
  && find /usr/local/bin -xtype l -delete
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
# By number, so that an orchestrator can see that it is not root.
USER 1000:1000

# What docker-compose.yml puts before the proxies; its configuration stands there.
FROM node:24-trixie-slim AS front
RUN apt-get update \
  && apt-get install --yes --no-install-recommends haproxy \
  && rm -rf /var/lib/apt/lists/*
USER haproxy
EXPOSE 8080
CMD ["haproxy", "-db", "-f", "/etc/haproxy/haproxy.cfg"]

FROM runtime AS server
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT||3000}/health`).then(({ok})=>process.exit(ok?0:1),()=>process.exit(1))"]
CMD ["node", "dist/server/demo/main.js"]

FROM runtime AS proxy
EXPOSE 8080 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.OPS_PORT||9464}/healthz`).then(({ok})=>process.exit(ok?0:1),()=>process.exit(1))"]
ENTRYPOINT ["node", "dist/proxy/cli.js"]
CMD []
