"""CAT's assertions about full refreshes, run on the image."""

import time

from connector import configured
from fixtures import config, connector, discovered, method, source  # noqa: F401


class TestFullRefresh:
    def test_sequential_reads(self, connector, config, discovered):
        """Two reads, a tenth of a second apart: the same records, and every one of the second was emitted later."""
        catalog = configured(discovered, "full_refresh")
        first = connector.run("read", config=config, catalog=catalog).ok().of("RECORD")
        time.sleep(0.1)  # CAT's own pause, part of what is asserted
        second = connector.run("read", config=config, catalog=catalog).ok().of("RECORD")
        assert min(r["emitted_at"] for r in second) > max(r["emitted_at"] for r in first)

        def content(records):
            return sorted((r["stream"], sorted((k, str(v)) for k, v in r["data"].items() if k != "_ab_cdc_lsn"
                           and not k.startswith("_ab_cdc"))) for r in records)

        assert content(first) == content(second)
