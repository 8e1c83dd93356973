"""What a person gets who opens the address."""

from playwright.sync_api import Page, expect


def test_the_page_says_what_it_is_and_where_to_begin(page: Page) -> None:
    expect(page).to_have_title("Latent Loom")
    expect(page.locator(".react-flow__pane")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")
