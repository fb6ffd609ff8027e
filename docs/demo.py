"""A small shopping cart, unfinished on purpose: `make demo` completes it where the cursor stands."""


class Cart:
    """Items, their prices, and the customer who pays."""

    def __init__(self, customer, items=None, discount=0, currency="EUR"):
        self.customer = customer
        self.items = items or []
        self.discount = discount
        self.

    def total(self):
        """Return the sum of all prices after the discount."""
        total = 0
        for item in 
            total += item.price
        return total * (1 - self.discount)
