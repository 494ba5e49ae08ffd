"""`python -m bank_crm`: serve the CRM on the loopback interface."""

import argparse

import uvicorn

from .app import create_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="bank_crm", description="Sample CRM of a bank, on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--clients", type=int, default=5000, help="how many to make in an empty database")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", default=":memory:", help="SQLite file; kept between runs")
    parser.add_argument(
        "--no-auth", action="store_true", help="serve everyone; a gateway in front signs people in"
    )
    parser.add_argument("--addon", help="file of a script that the front page loads")
    args = parser.parse_args()
    app = create_app(
        args.database, clients=args.clients, seed=args.seed, auth=not args.no_auth, addon=args.addon
    )
    uvicorn.run(app, host="127.0.0.1", port=args.port)


if __name__ == "__main__":
    main()
